import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const audit = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/audit",
  staticData: { permission: "audit:read", what: "the audit" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
