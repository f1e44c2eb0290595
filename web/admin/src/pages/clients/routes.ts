import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const clients = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/clients",
  staticData: { permission: "clients:read", what: "clients" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
