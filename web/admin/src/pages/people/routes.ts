import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { z } from "zod";
import { filters } from "~/lib/filters";
import { tenantRoot } from "~/routes";

export const people = createRoute({
  getParentRoute: () => tenantRoot,
  path: "/people",
  staticData: { permission: "members:read", what: "people" },
  validateSearch: z.object({ q: filters.text, role: filters.text, status: filters.choice(["active", "disabled", "no_password"]) }),
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
