import type { Matrix, Scope } from "./model";

const scope = (server: string, name: string, risk: Scope["risk"], ...tools: string[]): Scope => ({
  server, server_title: server.charAt(0).toUpperCase() + server.slice(1), scope: name, risk, tools: tools.map((t) => ({ name: t, title: t, risk })), published: true,
});

/** Three roles, four scopes on two servers, not in the order in which they are shown. */
export const matrix: Matrix = {
  roles: [
    { name: "admin", description: "Does everything.", members: 1, permissions: ["admin"] },
    { name: "finance", description: "", members: 2, permissions: [] },
    { name: "viewer", description: "", members: 12, permissions: [] },
  ],
  scopes: [
    scope("orders", "orders:read", "read", "search_orders", "summarize_order"),
    scope("orders", "refunds:write", "destructive", "issue_refund"),
    scope("diagnostics", "diagnostics", "read", "echo"),
    scope("orders", "notes:write", "write", "add_note"),
  ],
  open: [0, 0, 0, 1, 0, 2, 0, 3, 1, 0, 1, 1, 2, 0],
};

export function bigMatrix(roles = 50, scopes = 500): Matrix {
  return {
    roles: Array.from({ length: roles }, (_, i) => ({ name: `role-${i + 1}`, description: "", members: i, permissions: [] })),
    scopes: Array.from({ length: scopes }, (_, i) => scope(`server-${String(Math.floor(i / 20)).padStart(2, "0")}`, `scope-${i}`, "read", `tool_${i}`)),
    open: [],
  };
}
