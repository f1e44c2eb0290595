import type { Switch } from "~/api/safety";

export type Kind = Switch["kind"];

export const kinds: Record<Kind, { label: string; says: string }> = {
  tool: { label: "Tool", says: "Nobody can call this one tool." },
  server: { label: "Server", says: "Nobody can call anything of this server." },
  member: { label: "Person", says: "Whatever this person's apps call is refused." },
  client: { label: "App", says: "Whatever this app calls is refused, whoever it works for." },
  tenant: { label: "Everything", says: "Every call of every tool is refused, of everybody." },
};

/** A target as the API names it. */
export const targets = {
  tenant: "tenant",
  server: (server: string) => `server:${server}`,
  tool: (server: string, tool: string) => `tool:${server}/${tool}`,
  member: (member: string) => `member:${member}`,
  client: (client: string) => `client:${client}`,
};

export interface Parts {
  kind: Kind;
  /** What stands after the kind. */
  rest: string;
  server?: string;
  tool?: string;
}

export function parts(target: string): Parts {
  const at = target.indexOf(":");
  if (at < 0) return { kind: "tenant", rest: "" };
  const kind = target.slice(0, at) as Kind;
  const rest = target.slice(at + 1);
  if (kind !== "tool") return { kind, rest, ...(kind === "server" && { server: rest }) };
  const slash = rest.indexOf("/");
  return { kind, rest, server: rest.slice(0, slash), tool: rest.slice(slash + 1) };
}
