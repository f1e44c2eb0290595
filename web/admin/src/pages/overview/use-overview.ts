import { useQueries, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { accountQuery, offerQuery } from "~/api/upstreams";
import { useOpenEvents, usePendingApprovals, useSwitchesOn, type SafetyEvent } from "~/api/safety";

const path = at();
const day = 86_400_000;

/** Everything the overview stands on; each part only where the person may read it. */
export function useOverview() {
  const can = useCan();
  const [since] = useState(() => new Date(Date.now() - day).toISOString());
  const servers = useQuery({
    queryKey: ["overview", "servers"], enabled: can("servers:read"),
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/servers", { params: { path, query: { limit: 200 } }, signal }))).data,
  });
  const connections = useQuery({
    queryKey: ["overview", "connections"], enabled: can("servers:read"),
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/connections", { params: { path, query: { limit: 200 } }, signal }))).data,
  });
  const unopened = useQuery({
    queryKey: ["overview", "unopened"], enabled: can("roles:read"),
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/scopes", { params: { path, query: { unopened: true, limit: 200 } }, signal }))).data,
  });
  const roles = useQuery({
    queryKey: ["overview", "roles"], enabled: can("roles:read"),
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/roles", { params: { path, query: { limit: 200 } }, signal }))).data,
  });
  const members = useQuery({
    queryKey: ["overview", "members"], enabled: can("members:read"),
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/members", { params: { path, query: { limit: 200 } }, signal }))).data,
  });
  const keys = useQuery({
    queryKey: ["overview", "keys"], enabled: can("keys:read"),
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/api-keys", { params: { path, query: { limit: 200 } }, signal }))).data,
  });
  const clients = useQuery({
    queryKey: ["overview", "clients"], enabled: can("clients:read"),
    queryFn: async ({ signal }) => {
      const page = await body(api.GET("/tenants/{tenant}/clients", { params: { path, query: { authorized: true, limit: 50 } }, signal }));
      return page.data.filter((c) => c.kind !== "console"); // this page is one itself
    },
  });
  const denied = useQuery({
    queryKey: ["overview", "denied", since], enabled: can("audit:read"),
    queryFn: async ({ signal }) => {
      const page = await body(api.GET("/tenants/{tenant}/audit/events", { params: { path, query: { outcome: "refused", since, limit: 100 } }, signal }));
      return { count: page.data.length, more: page.has_more };
    },
  });
  const calls = useQuery({
    queryKey: ["overview", "calls"], enabled: can("audit:read"), refetchInterval: 15_000,
    queryFn: async ({ signal }) => {
      const page = await body(api.GET("/tenants/{tenant}/audit/events", { params: { path, query: { method: "tools/call", limit: 20 } }, signal }));
      // The intent of a call with effects is on record too; here its outcome is enough.
      return page.data.filter((e) => e.phase !== "intent").slice(0, 8);
    },
  });
  const usage = useQuery({
    queryKey: ["overview", "usage"], enabled: can("usage:read"),
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/usage", { params: { path, query: { range: "24h", group_by: "server" } }, signal })),
  });
  const deprecations = useQuery({
    queryKey: ["deprecations"], enabled: can("servers:read"),
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/deprecations", { params: { path }, signal })),
  });
  const events = useOpenEvents();
  return { ...useUpstreams(events.data?.data ?? [], can("servers:read")), events, approvals: usePendingApprovals(), switches: useSwitchesOn(), deprecations, servers, connections, unopened, roles, members, keys, clients, denied, calls, usage };
}

/** What open events say of upstreams, as far as it is still so: an event stays open after the change was decided about. */
function useUpstreams(events: readonly SafetyEvent[], enabled: boolean) {
  const named = (kind: SafetyEvent["kind"]) => [...new Set(events.filter((e) => e.kind === kind && e.server).map((e) => e.server!))].slice(0, 10);
  const changed = useQueries({
    queries: named("definition_changed").map((server) => ({ ...offerQuery(server), enabled })),
    combine: (all) => all.flatMap(({ data }, i) => (data?.pending ? [{ server: named("definition_changed")[i]!, changes: data.pending.changes.length }] : [])),
  });
  const expired = useQueries({
    queries: named("account_expired").map((server) => ({ ...accountQuery(server), enabled })),
    combine: (all) => all.flatMap(({ data }, i) => (data?.state === "expired" ? [{ server: named("account_expired")[i]!, failure: data.failure }] : [])),
  });
  return { changed, expired };
}
