import { createRootRoute, createRoute, notFound } from "@tanstack/react-router";
import { boot } from "./boot";
import { Shell } from "./shell/shell";
import { PageMissing } from "./shell/page-states";

declare module "@tanstack/react-router" {
  interface StaticDataRouteOption {
    /** What of the platform's permissions the page needs to show anything. */
    permission?: string;
    /** Said in the denied state: "You may not open {what}". */
    what?: string;
  }
}

export const root = createRootRoute({ component: Shell, notFoundComponent: PageMissing });

/** Parent of every page of a tenant. */
export const tenantRoot = createRoute({
  getParentRoute: () => root,
  id: "tenant",
  beforeLoad: () => {
    if (boot.mode !== "tenant") throw notFound();
  },
});

/** Parent of every page of the operators. */
export const opsRoot = createRoute({
  getParentRoute: () => root,
  id: "ops",
  beforeLoad: () => {
    if (boot.mode !== "ops") throw notFound();
  },
});
