import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const switches = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/switches",
  staticData: { permission: "switches:read", what: "kill switches" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
