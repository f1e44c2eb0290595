import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const people = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/people",
  staticData: { permission: "members:read", what: "people" },
  validateSearch: search({
    tab: filters.choice(["invitations"]),
    q: filters.text,
    role: filters.text,
    status: filters.choice(["active", "disabled", "no_password"]),
    invited: filters.choice(["pending", "accepted", "expired", "revoked"]),
  }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});

export const person = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/people/$member",
  staticData: { permission: "members:read", what: "people" },
  component: lazyRouteComponent(() => import("./person"), "Page"),
});
