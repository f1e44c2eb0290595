import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const access = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/access",
  staticData: { permission: "roles:read", what: "access" },
  validateSearch: search({
    q: filters.text,
    risk: filters.choice(["read", "write", "destructive"]),
    server: filters.text,
    /** Rows of tools below their scopes. */
    tools: filters.flag,
    /** Whose effective access is shown beside the matrix: an address or an id. */
    person: filters.text,
  }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
