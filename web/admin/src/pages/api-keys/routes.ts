import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { tenantRoot } from "~/routes";

export const apiKeys = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/api-keys",
  staticData: { permission: "keys:read", what: "API keys" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
