import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { filters, search } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const servers = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/servers",
  staticData: { permission: "servers:read", what: "servers" },
  validateSearch: search({ q: filters.text, status: filters.choice(["published", "draft"]) }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});

export const serverNew = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/add-server",
  staticData: { permission: "servers:write", what: "adding a server" },
  component: lazyRouteComponent(() => import("./wizard"), "Page"),
});

export const tabs: ["overview", "tools", "changes", "spec", "revisions", "connection", "try"] = ["overview", "tools", "changes", "spec", "revisions", "connection", "try"];

export const server = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/servers/$server",
  staticData: { permission: "servers:read", what: "servers" },
  validateSearch: search({
    tab: filters.choice(tabs),
    /** The revision a tab is about. */
    revision: filters.number,
    tool: filters.text,
  }),
  component: lazyRouteComponent(() => import("./server"), "Page"),
});
