import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const usage = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/usage",
  staticData: { permission: "usage:read", what: "usage" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
