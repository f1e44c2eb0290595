import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { z } from "zod";
import { filters } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const servers = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/servers",
  staticData: { permission: "servers:read", what: "servers" },
  validateSearch: z.object({ q: filters.text, status: filters.choice(["published", "draft"]) }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});

export const serverNew = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/add-server",
  staticData: { permission: "servers:write", what: "Add a server" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});

export const server = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/servers/$server",
  staticData: { permission: "servers:read", what: "servers" },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
