import { cellOf, type Model, type Scope } from "./model";

export type Row =
  /** A server, above its scopes; its cells stand for all of them. */
  | { kind: "server"; key: string; server: string; title: string; scopes: number[] }
  | { kind: "scope"; key: string; scope: number }
  | { kind: "tool"; key: string; scope: number; tool: Scope["tools"][number] };

export interface Rows {
  rows: Row[];
  /** Where each row begins, and at the end where the last one stops. */
  tops: Float64Array;
}

export interface View {
  q?: string;
  risk?: "read" | "write" | "destructive";
  server?: string;
  tools?: boolean;
}

export const heights = { server: 34, scope: 44, tool: 28 } as const;

/** The rows to show, of a model whose scopes stand server by server. */
export function buildRows(model: Pick<Model, "scopes">, view: View): Rows {
  const rows: Row[] = [];
  let group: Extract<Row, { kind: "server" }> | undefined;
  model.scopes.forEach((scope, at) => {
    if (!matches(scope, view)) return;
    if (group?.server !== scope.server) {
      group = { kind: "server", key: scope.server, server: scope.server, title: scope.server_title || scope.server, scopes: [] };
      rows.push(group);
    }
    group.scopes.push(at);
    rows.push({ kind: "scope", key: `${scope.server} ${scope.scope}`, scope: at });
    if (view.tools) for (const tool of scope.tools) rows.push({ kind: "tool", key: `${scope.server} ${scope.scope} ${tool.name}`, scope: at, tool });
  });
  const tops = new Float64Array(rows.length + 1);
  rows.forEach((row, i) => { tops[i + 1] = tops[i]! + heights[row.kind]; });
  return { rows, tops };
}

function matches(scope: Scope, { q, risk, server }: View): boolean {
  if (server && scope.server !== server) return false;
  if (risk && scope.risk !== risk && !scope.tools.some((tool) => tool.risk === risk)) return false;
  if (!q) return true;
  const text = [scope.scope, scope.server, scope.server_title, ...scope.tools.flatMap((t) => [t.name, t.title])].join(" ").toLowerCase();
  return q.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** The cells that a row's cell in one column stands for; none for a tool, which follows its scope. */
export function cellsOf(model: Model, row: Row | undefined, role: number): number[] {
  if (row?.kind === "scope") return [cellOf(model, role, row.scope)];
  if (row?.kind === "server") return row.scopes.map((scope) => cellOf(model, role, scope));
  return [];
}

/** The first row of which anything lies below `y`. */
export function rowAt(tops: Float64Array, y: number): number {
  let low = 0;
  let high = tops.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tops[middle]! <= y) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}
