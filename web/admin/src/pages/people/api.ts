import { useQueryClient } from "@tanstack/react-query";
import { api, at, body, tagged, type Schemas } from "~/api/client";

export type Member = Schemas["Member"];
export type Invitation = Schemas["Invitation"];
export type MemberStatus = "active" | "disabled" | "no_password";

export const readMember = (member: string, signal?: AbortSignal) => tagged(api.GET("/tenants/{tenant}/members/{member}", { params: { path: at({ member }) }, signal }));

export const memberQuery = (member: string) => ({
  queryKey: ["members", member, "one"],
  queryFn: ({ signal }: { signal: AbortSignal }) => readMember(member, signal),
});

/** A person is written whole, so what is not changed is sent as it was read. */
export function putMember(email: string, { name, roles, disabled }: Pick<Member, "name" | "roles" | "disabled">, etag: string | undefined) {
  return tagged(api.PUT("/tenants/{tenant}/members/{member}", { params: { path: at({ member: email }), header: etag ? { "If-Match": etag } : {} }, body: { name, roles, disabled } }));
}

export const removeMember = (member: string, dryRun: boolean, etag?: string) =>
  body(api.DELETE("/tenants/{tenant}/members/{member}", { params: { path: at({ member }), query: { dry_run: dryRun }, header: etag && !dryRun ? { "If-Match": etag } : {} } }));

export const endSessions = (member: string) => body(api.DELETE("/tenants/{tenant}/members/{member}/sessions", { params: { path: at({ member }) } }));

export const invite = (invitation: Pick<Schemas["InvitationCreate"], "email" | "name" | "roles" | "send" | "expires_in_hours">) =>
  body(api.POST("/tenants/{tenant}/invitations", { params: { path: at() }, body: invitation }));

/** Everything that shows people is read again. */
export function useRefreshPeople() {
  const client = useQueryClient();
  return () => client.invalidateQueries({ predicate: ({ queryKey }) => ["members", "invitations", "find", "access", "tenant"].includes(String(queryKey[0])) });
}

export const statusOf = (m: Member): MemberStatus => (m.disabled ? "disabled" : m.has_password ? "active" : "no_password");
