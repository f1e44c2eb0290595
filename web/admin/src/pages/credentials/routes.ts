import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const credentials = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/credentials",
  staticData: { permission: "servers:read", what: "credentials" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
