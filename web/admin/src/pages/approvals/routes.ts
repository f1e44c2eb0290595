import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

// No permission: whoever holds the role that a tool names decides, and whoever asked may look.

export const approvals = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/approvals",
  staticData: { what: "approvals" },
  validateSearch: search({ status: filters.choice(["approved", "denied", "expired", "used"]), server: filters.text, tool: filters.text }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});

export const approval = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/approvals/$approval",
  staticData: { what: "approvals" },
  component: lazyRouteComponent(() => import("./approval"), "Page"),
});
