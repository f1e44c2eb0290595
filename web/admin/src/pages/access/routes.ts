import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const access = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/access",
  staticData: { permission: "roles:read", what: "access" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
