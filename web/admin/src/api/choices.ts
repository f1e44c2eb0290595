import { useQuery } from "@tanstack/react-query";
import { findPeople, findServers } from "~/shell/find";
import { api, at, body } from "./client";
import { useCan } from "./me";

interface Choice {
  value: string;
  label: string;
}
const none: never[] = [];

// What filters and pickers offer. Who may not read a list gets an empty one, and types.

export function useServerChoices(): Choice[] {
  const query = useQuery({ ...findServers, enabled: useCan()("servers:read") });
  return query.data?.map((s) => ({ value: s.slug, label: s.slug })) ?? none;
}

export function useMemberChoices(): Choice[] {
  const query = useQuery({ ...findPeople, enabled: useCan()("members:read") });
  return query.data?.map((m) => ({ value: m.email, label: m.email })) ?? none;
}

export function useToolChoices(server: string | undefined): string[] {
  const query = useQuery({
    queryKey: ["find", "tools"],
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/tools", { params: { path: at(), query: { limit: 200 } }, signal }))).data,
    enabled: useCan()("servers:read"),
  });
  return query.data?.filter((t) => !server || t.server === server).map((t) => t.name) ?? none;
}

/** Apps have names of their own choosing, so two may share one: the id then tells them apart. */
export function useClientChoices(): Choice[] {
  const query = useQuery({
    queryKey: ["find", "clients"],
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/clients", { params: { path: at(), query: { limit: 200 } }, signal }))).data,
    enabled: useCan()("clients:read"),
  });
  const names = query.data?.map((c) => c.name) ?? none;
  return query.data?.map((c) => ({ value: c.id, label: names.filter((n) => n === c.name).length > 1 ? `${c.name} (${c.id})` : c.name })) ?? none;
}

export function useRoleChoices() {
  return useQuery({
    queryKey: ["find", "roles"],
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/roles", { params: { path: at(), query: { limit: 200 } }, signal }))).data,
    enabled: useCan()("roles:read"),
  });
}
