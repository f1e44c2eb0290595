import { queryOptions, useQuery } from "@tanstack/react-query";
import { boot } from "~/boot";
import { api, at, body, type Schemas } from "./client";
import { useCan } from "./me";

export type Approval = Schemas["Approval"];
export type SafetyEvent = Schemas["Event"];
export type Switch = Schemas["Switch"];

// What the frame counts and the pages show. Read again every half minute, and only
// while somebody looks: a console left open in a tab asks for nothing.

const watched = { refetchInterval: 30_000, refetchIntervalInBackground: false, staleTime: 15_000 } as const;

/** The newest that wait; who decides a hundred of them sees the rest. */
export const pendingApprovals = queryOptions({
  queryKey: ["approvals", "pending"],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/approvals", { params: { path: at(), query: { status: "pending", limit: 100 } }, signal })),
  ...watched,
});

export const openEvents = queryOptions({
  queryKey: ["events", "open"],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/events", { params: { path: at(), query: { open: true, limit: 100 } }, signal })),
  ...watched,
});

export const switchesOn = queryOptions({
  queryKey: ["switches", "on"],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/switches", { params: { path: at(), query: { on: true, limit: 100 } }, signal })),
  ...watched,
});

export const platformSwitch = queryOptions({
  queryKey: ["platform-switch"],
  queryFn: ({ signal }) => body(api.GET("/switch", { signal })),
  ...watched,
});

const asTenant = boot.mode === "tenant";

/** Everybody may have something to decide: a role does not need a permission for it. */
export const usePendingApprovals = () => useQuery({ ...pendingApprovals, enabled: asTenant });

export function useOpenEvents() {
  const can = useCan();
  return useQuery({ ...openEvents, enabled: asTenant && can("events:read") });
}

export function useSwitchesOn() {
  const can = useCan();
  return useQuery({ ...switchesOn, enabled: asTenant && can("switches:read") });
}

export const usePlatformSwitch = () => useQuery({ ...platformSwitch, enabled: !asTenant });
