import { cellOf, type Model, type Scope } from "./model";

/** One scope that a person can use, or could, with the roles that open it. */
export interface Opening {
  scope: Scope;
  roles: string[];
  /** Against what is saved: does the pending change give it, take it, or leave it? */
  change: "same" | "gains" | "loses";
}
export interface ServerAccess {
  server: string;
  title: string;
  open: Opening[];
  closed: Scope[];
}

/** What holders of these roles can use, as saved or with the pending changes on top. */
export function effective(model: Model, roles: readonly string[], withPending: boolean): ServerAccess[] {
  const held = model.roles.flatMap((role, at) => (roles.includes(role.name) ? [at] : []));
  const servers = new Map<string, ServerAccess>();
  model.scopes.forEach((scope, at) => {
    const entry = servers.get(scope.server) ?? { server: scope.server, title: scope.server_title || scope.server, open: [], closed: [] };
    servers.set(scope.server, entry);
    const openers = (values: Uint8Array) => held.filter((role) => values[cellOf(model, role, at)] === 1);
    const before = openers(model.saved);
    const after = withPending ? openers(model.now) : before;
    if (after.length > 0 || before.length > 0) {
      const change = after.length === 0 ? "loses" : before.length === 0 ? "gains" : "same";
      entry.open.push({ scope, roles: (after.length ? after : before).map((role) => model.roles[role]!.name), change });
    } else {
      entry.closed.push(scope);
    }
  });
  return [...servers.values()];
}
