import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const tools = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/tools",
  staticData: { permission: "servers:read", what: "tools" },
  validateSearch: search({ q: filters.text, server: filters.text, risk: filters.choice(["read", "write", "destructive"]), scope: filters.text, role: filters.text }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});

export const tool = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/tools/$server/$tool",
  staticData: { permission: "servers:read", what: "tools" },
  component: lazyRouteComponent(() => import("./tool"), "Page"),
});
