import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const usage = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/usage",
  staticData: { permission: "usage:read", what: "usage" },
  validateSearch: search({
    range: filters.choice(["1h", "24h", "7d", "30d"]),
    by: filters.choice(["server", "tool", "member", "client"]),
    server: filters.text,
    tool: filters.text,
    member: filters.text,
    client: filters.text,
  }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
