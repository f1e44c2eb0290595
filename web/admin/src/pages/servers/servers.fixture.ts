import type { Schemas } from "~/api/client";

export const tool = (name: string, more: Partial<Schemas["Tool"]> = {}): Schemas["Tool"] => ({
  server: "orders", name, title: name, description: "Does it.", scope: "orders:read", risk: "read", timeout_ms: 5000, idempotent: true, roles: ["admin"], published: true, revision: 3,
  input_schema: { type: "object", required: ["query"], properties: { query: { type: "string" }, limit: { type: "integer" } } }, ...more,
});

export const server = (slug: string, more: Partial<Schemas["Server"]> = {}): Schemas["Server"] => ({
  id: slug, slug, kind: "sql", title: slug, description: "Of Acme.", pool: "default", status: "published", mcp_url: `https://acme.test/mcp/${slug}`, active_revision: 3, latest_revision: 4, tools: 1,
  updated_at: "2026-02-01T00:00:00Z", secrets_set: ["admin.password"], connection: { host: "db" }, ...more,
});

export const revision = (number: number, more: Partial<Schemas["Revision"]> = {}): Schemas["Revision"] => ({
  id: `rv${number}`, number, hash: "sha256:0123456789", kind: "sql", active: number === 3, created_at: "2026-02-01T00:00:00Z", created_by: "dana@acme.test", tools: [tool("search_orders", { roles: undefined })], scopes: ["orders:read"], spec_yaml: `tools: [${number}]\n`, ...more,
});

export const summary = (number: number): Schemas["RevisionSummary"] => ({ ...revision(number), tools: 1 });

export const diff: Schemas["Diff"] = { from: 3, to: 4, same: false, changes: [{ verb: "changed", what: "tool", name: "search_orders", fields: [{ field: "risk", before: "read", after: "write" }] }] };

export const page = <T>(...data: T[]) => ({ data, has_more: false });
