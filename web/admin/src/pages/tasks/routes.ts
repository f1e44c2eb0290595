import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const tasks = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/tasks",
  staticData: { permission: "servers:read", what: "tasks" },
  validateSearch: search({
    status: filters.choice(["queued", "running", "input_required", "completed", "failed", "cancelled"]), server: filters.text, tool: filters.text, member: filters.text,
    /** The one that is open beside the list. */
    task: filters.text,
  }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
