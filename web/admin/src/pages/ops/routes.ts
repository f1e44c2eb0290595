import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { opsRoot } from "~/routes";

export const tenants = createRoute({
  getParentRoute: () => opsRoot,
  path: "/tenants",
  validateSearch: search({ q: filters.text }),
  component: lazyRouteComponent(() => import("./tenants/page"), "Page"),
});

export const tenant = createRoute({
  getParentRoute: () => opsRoot,
  path: "/tenants/$tenant",
  component: lazyRouteComponent(() => import("./tenants/tenant"), "Page"),
});

export const workers = createRoute({
  getParentRoute: () => opsRoot,
  path: "/workers",
  component: lazyRouteComponent(() => import("./workers/page"), "Page"),
});

export const health = createRoute({
  getParentRoute: () => opsRoot,
  path: "/health",
  component: lazyRouteComponent(() => import("./health/page"), "Page"),
});

export const operators = createRoute({
  getParentRoute: () => opsRoot,
  path: "/operators",
  component: lazyRouteComponent(() => import("./operators/page"), "Page"),
});

export const mail = createRoute({
  getParentRoute: () => opsRoot,
  path: "/mail",
  component: lazyRouteComponent(() => import("./mail/page"), "Page"),
});

export const platformSwitch = createRoute({
  getParentRoute: () => opsRoot,
  path: "/switch",
  component: lazyRouteComponent(() => import("./switch/page"), "Page"),
});
