import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const events = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/events",
  staticData: { permission: "events:read", what: "events" },
  validateSearch: search({
    kind: filters.choice(["fan_out", "repeated_calls", "secret_withheld", "injection_flagged", "switched_off", "switched_on", "approval_requested", "outcome_unknown", "definition_changed", "server_unhealthy", "limits_degraded", "account_expired"]),
    open: filters.choice(["yes", "no"]),
    server: filters.text,
  }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
