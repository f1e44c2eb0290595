import { count, list } from "~/lib/words";
import { pendingCells, roleOf, scopeOf, type Model, type Scope } from "./model";

/** What the pending changes mean for one role, in plain words. */
export interface RoleSummary {
  role: string;
  members: number;
  opens: ScopeWords[];
  closes: ScopeWords[];
}
export interface ScopeWords {
  cell: number;
  scope: Scope;
  /** "refunds:write on Orders: 1 tool that cannot be undone" */
  words: string;
}

export function summarize(model: Model): RoleSummary[] {
  const byRole = new Map<number, RoleSummary>();
  for (const cell of pendingCells(model)) {
    const at = roleOf(model, cell);
    const role = model.roles[at]!;
    const summary = byRole.get(at) ?? { role: role.name, members: role.members, opens: [], closes: [] };
    byRole.set(at, summary);
    const scope = model.scopes[scopeOf(model, cell)]!;
    (model.now[cell] === 1 ? summary.opens : summary.closes).push({ cell, scope, words: `${scope.scope} on ${scope.server_title || scope.server}: ${toolWords(scope)}` });
  }
  return [...byRole.values()];
}

const tails = { read: "that only reads", write: "that changes things", destructive: "that cannot be undone" } as const;
const tailsOfMany = { read: "that only read", write: "that change things", destructive: "that cannot be undone" } as const;

export function toolWords(scope: Scope): string {
  const parts: string[] = [];
  for (const risk of ["read", "write", "destructive"] as const) {
    const n = scope.tools.filter((tool) => tool.risk === risk).length;
    if (n > 0) parts.push(`${count(n, "tool")} ${n === 1 ? tails[risk] : tailsOfMany[risk]}`);
  }
  if (scope.resources) parts.push(count(scope.resources, "resource"));
  if (scope.prompts) parts.push(count(scope.prompts, "prompt"));
  return parts.length ? list(parts) : "nothing is served under it now";
}

/** One sentence for the bar: "finance opens 2 scopes; support closes 1." */
export function headline(summaries: readonly RoleSummary[]): string {
  const parts = summaries.slice(0, 3).map(({ role, opens, closes }) => {
    const does = [opens.length && `opens ${count(opens.length, "scope")}`, closes.length && `closes ${count(closes.length, "scope")}`].filter(Boolean);
    return `${role} ${does.join(" and ")}`;
  });
  if (summaries.length > 3) parts.push(`${count(summaries.length - 3, "more role")} change`);
  return parts.join("; ");
}

/** How many of the opened scopes have a tool whose work cannot be undone. */
export function destructive(summaries: readonly RoleSummary[]): number {
  return summaries.flatMap((s) => s.opens).filter(({ scope }) => scope.tools.some((tool) => tool.risk === "destructive")).length;
}
