import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const credentials = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/credentials",
  staticData: { permission: "servers:read", what: "credentials" },
  /** The server whose connection is open. */
  validateSearch: search({ server: filters.text }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
