import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const clients = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/clients",
  staticData: { permission: "clients:read", what: "clients" },
  validateSearch: search({
    tab: filters.choice(["grants"]),
    q: filters.text,
    authorized: filters.choice(["yes", "no"]),
    /** The app whose details are open; among grants, a filter. */
    client: filters.text,
    member: filters.text,
    server: filters.text,
    status: filters.choice(["active", "expired", "revoked"]),
  }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
