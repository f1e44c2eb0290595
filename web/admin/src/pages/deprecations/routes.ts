import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const deprecations = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/deprecations",
  staticData: { permission: "servers:read", what: "deprecations" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
