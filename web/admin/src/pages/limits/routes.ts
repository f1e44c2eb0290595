import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const limits = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/limits",
  staticData: { permission: "limits:read", what: "limits" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
