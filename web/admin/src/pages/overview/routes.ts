import { createRoute, lazyRouteComponent, redirect } from "@tanstack/react-router";
import { boot } from "~/boot";
import { root } from "~/routes";

/** The first page of both consoles; operators begin with their tenants. */
export const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => {
    if (boot.mode === "ops") throw redirect({ to: "/tenants" });
  },
  component: lazyRouteComponent(() => import("./page"), "Page"),
});
