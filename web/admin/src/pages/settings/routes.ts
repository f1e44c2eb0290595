import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const settings = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/settings",
  staticData: { permission: "tenant:read", what: "settings" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
