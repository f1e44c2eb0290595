import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const people = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/people",
  staticData: { permission: "members:read", what: "people" },
  validateSearch: search({ q: filters.text, role: filters.text, status: filters.choice(["active", "disabled", "no_password"]) }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
