import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const audit = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/audit",
  staticData: { permission: "audit:read", what: "the audit" },
  validateSearch: search({
    /** Back from now; or since and until, as times. */
    range: filters.choice(["15m", "1h", "24h", "7d", "30d"]),
    since: filters.time,
    until: filters.time,
    server: filters.text,
    tool: filters.text,
    member: filters.text,
    client: filters.text,
    grant: filters.text,
    outcome: filters.choice(["pending", "done", "failed", "refused", "unknown"]),
    category: filters.choice(["access", "validation", "downstream", "rate_limit", "internal"]),
    code: filters.text,
    method: filters.choice(["tools/call", "resources/read", "api"]),
    call: filters.text,
    /** The record whose details are open. */
    event: filters.text,
    /** Follow records as they are made. */
    live: filters.flag,
  }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
