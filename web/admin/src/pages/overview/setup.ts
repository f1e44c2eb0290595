import type { Schemas } from "~/api/client";

export interface Progress {
  servers?: readonly Pick<Schemas["Server"], "status">[];
  roles?: readonly Pick<Schemas["Role"], "scopes" | "members">[];
  members?: number;
  clients?: number;
  calls?: number;
}

export interface Step {
  key: "server" | "role" | "people" | "client" | "call";
  title: string;
  says: string;
  done: boolean;
}

const known = <T>(value: T | undefined, done: (value: T) => boolean) => value === undefined || done(value);

/** The way of a new tenant to its first call. Undefined means unknown, and then nothing is claimed to be missing. */
export function setup({ servers, roles, members, clients, calls }: Progress): Step[] {
  return [
    { key: "server", title: "Publish a server", says: "Its tools become callable at a URL of its own.", done: known(servers, (all) => all.some((s) => s.status === "published")) },
    { key: "role", title: "Open scopes for a role", says: "Nothing is open by itself.", done: known(roles, (all) => all.some((r) => r.scopes.length > 0)) },
    { key: "people", title: "Invite a colleague", says: "By mail, or with a link you hand over.", done: known(members, (n) => n > 1) },
    { key: "client", title: "Connect a client", says: "Add the URL to an agent, sign in, tick what it may do.", done: known(clients, (n) => n > 0) },
    { key: "call", title: "Make the first call", says: "It appears below and in the audit.", done: known(calls, (n) => n > 0) },
  ];
}
