import { screen } from "@testing-library/react";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { attention } from "./attention";
import { setup } from "./setup";

const now = Date.parse("2026-03-01T12:00:00Z");
const server = (slug: string, more: Partial<Schemas["Server"]> = {}): Schemas["Server"] => ({
  id: slug, slug, kind: "sql", title: slug, description: "", pool: "default", status: "published", mcp_url: `https://acme.test/mcp/${slug}`, active_revision: 3, latest_revision: 3, updated_at: "2026-02-01T00:00:00Z", secrets_set: [], ...more,
});
const key = (name: string, expires_at: string, more: Partial<Schemas["APIKey"]> = {}): Schemas["APIKey"] => ({ id: name, name, hint: "", permissions: [], created_by: "dana", created_at: "2026-01-01T00:00:00Z", expires_at, ...more });
const member = (email: string, roles: string[], disabled = false): Schemas["Member"] => ({ id: email, email, name: "", roles, disabled, has_password: true, created_at: "2026-01-01T00:00:00Z" });
const titles = (known: Parameters<typeof attention>[0]) => attention(known, now).map((i) => i.title);

test("drafts and staged revisions wait for somebody", () => {
  expect(titles({ servers: [server("a"), server("b", { status: "draft" }), server("c", { latest_revision: 4 })] })).toEqual(["b is a draft", "c has a staged revision"]);
});

test("a connection that failed after it last worked is urgent, one that recovered is not there", () => {
  const c = { kind: "sql", connection: {}, secrets_set: [] };
  const items = attention({
    servers: [server("z", { status: "draft" })],
    connections: [
      { ...c, server: "a", last_failed_at: "2026-03-01T11:00:00Z", last_issued_at: "2026-03-01T10:00:00Z", last_failure: "no answer" },
      { ...c, server: "b", last_failed_at: "2026-03-01T10:00:00Z", last_issued_at: "2026-03-01T11:00:00Z" },
    ],
  }, now);
  expect(items.map((i) => [i.title, i.grave])).toEqual([["a cannot get credentials", true], ["z is a draft", false]]);
});

test("servers that do not answer, changes that wait and accounts that expired are urgent, and lead to where something is done", () => {
  const items = attention({
    servers: [server("a", { health: "unhealthy" }), server("b", { health: "degraded" }), server("c", { status: "draft", discovering: true })],
    changed: [{ server: "issues", changes: 2 }], expired: [{ server: "mail", failure: "It was revoked." }],
  }, now);
  expect(items.map((i) => [i.title, i.grave, i.to])).toEqual([
    ["a does not answer", true, { to: "/servers/$server", server: "a" }],
    ["The upstream of issues changed", true, { to: "/servers/$server", server: "issues", tab: "changes" }],
    ["Connect the account of mail again", true, { to: "/servers/$server", server: "mail", tab: "connection" }],
    ["c is being discovered", false, { to: "/servers/$server", server: "c", tab: "changes" }],
  ]);
});

test("keys are named two weeks before they expire, and not after, nor when they are revoked", () => {
  expect(titles({ keys: [key("soon", "2026-03-06T00:00:00Z"), key("later", "2026-06-01T00:00:00Z"), key("past", "2026-02-01T00:00:00Z"), key("revoked", "2026-03-02T00:00:00Z", { revoked_at: "2026-02-01T00:00:00Z" })] })).toEqual(["The API key soon expires in 4 days"]);
  expect(attention({ keys: [key("now", "2026-03-02T00:00:00Z")] }, now)[0]).toMatchObject({ title: "The API key now expires within a day", grave: true });
});

test("people without a role are counted, but for those who are disabled", () => {
  expect(titles({ members: [member("a@x.test", []), member("b@x.test", ["r"]), member("c@x.test", [], true)] })).toEqual(["1 person has no role"]);
});

test("switches, critical events and one's approvals are urgent; a sunset is, when somebody still calls", () => {
  const approval: Schemas["Approval"] = { id: "ap1", status: "pending", server: "orders", tool: "issue_refund", risk: "destructive", role: "finance", member: "fred@acme.test", arguments: {}, requested_at: "2026-03-01T11:50:00Z", expires_at: "2026-03-01T12:30:00Z", may_decide: true };
  const event: Schemas["Event"] = { id: "ev1", at: "2026-03-01T11:00:00Z", kind: "secret_withheld", severity: "critical", detail: "A key.", count: 1 };
  const going = (calls: number, sunset: string, gone = false): Schemas["DeprecatedTool"] => ({ server: "orders", tool: `t${calls}`, version: 1, deprecation: { sunset, gone }, calls, members: ["fred@acme.test"] });
  const items = attention({
    switches: [{ target: "tenant", kind: "tenant", on: true, reason: "Why.", by: "dana@acme.test", by_role: "admin", created_at: "2026-03-01T11:00:00Z", cancel_running: false }],
    events: [event, { ...event, id: "ev2", severity: "info" }, { ...event, id: "ev3", acknowledged_at: "2026-03-01T11:30:00Z" }],
    approvals: [approval, { ...approval, id: "ap2", may_decide: false }],
    deprecations: [going(4, "2026-03-05"), going(0, "2026-03-05"), going(7, "2026-09-01"), going(9, "2026-02-01", true), going(5, "2026-03-20")],
  }, now);
  expect(items.map((i) => [i.title, i.grave])).toEqual([
    ["Every tool is switched off", true], ["Credential withheld", true], ["fred@acme.test waits for your approval", true], ["t4 goes in 3 days and is still called", true], ["t5 goes in 18 days and is still called", false],
  ]);
  expect(items[2]!.to).toEqual({ to: "/approvals/$approval", approval: "ap1" });
  expect(titles({ approvals: [approval, { ...approval, id: "ap3" }] })).toEqual(["2 calls wait for your approval"]);
  expect(titles({ events: Array.from({ length: 5 }, (_, i) => ({ ...event, id: `ev${i}` })) }).at(-1)).toBe("2 more critical events open");
});

test("what may not be read raises nothing", () => {
  expect(attention({}, now)).toEqual([]);
  expect(titles({ denied: { count: 0, more: false } })).toEqual([]);
  expect(titles({ denied: { count: 100, more: true } })).toEqual(["More than 100 calls were refused within a day"]);
});

test("set-up goes step by step, and what is unknown is not claimed to be missing", () => {
  const done = (p: Parameters<typeof setup>[0]) => setup(p).map((s) => s.done);
  expect(done({ servers: [], roles: [], members: 1, clients: 0, calls: 0 })).toEqual([false, false, false, false, false]);
  expect(done({ servers: [{ status: "draft" }], roles: [{ scopes: [{ server: "a", scope: "b" }], members: 0 }], members: 2, clients: 1, calls: 1 })).toEqual([false, true, true, true, true]);
  expect(done({})).toEqual([true, true, true, true, true]);
});

const page = <T,>(...data: T[]) => ({ data, has_more: false });
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/servers": () => page(server("orders"), server("stock", { status: "draft", active_revision: undefined })),
  "GET /tenants/{tenant}/connections": () => page(),
  "GET /tenants/{tenant}/scopes": () => page(),
  "GET /tenants/{tenant}/roles": () => page({ name: "admin", description: "", scopes: [{ server: "orders", scope: "orders:read" }], permissions: ["admin" as const], members: 1 }),
  "GET /tenants/{tenant}/members": () => page(member("dana@acme.test", ["admin"])),
  "GET /tenants/{tenant}/api-keys": () => page(),
  "GET /tenants/{tenant}/clients": () => page(),
  "GET /tenants/{tenant}/audit/events": ({ query }) => (query.get("outcome") ? page() : page({ id: "au1", at: "2026-03-01T11:00:00Z", call_id: "ca1", phase: "outcome" as const, method: "tools/call", tool: "search_orders", server: "orders", member: "dana@acme.test", outcome: "done" as const, decision: "allowed" as const, latency_ms: 12 })),
  "GET /tenants/{tenant}/usage": () => ({ range: "24h", since: "2026-03-01T00:00:00Z", until: "2026-03-02T00:00:00Z", step_s: 3600, totals: { calls: 0, done: 0, failed: 0, refused: 0, unknown: 0 }, series: [], groups: [] }),
};

test("a new tenant sees the way, what waits, and how to connect", async () => {
  platform(answers);
  open("/");
  expect(await screen.findByText("stock is a draft")).toBeTruthy();
  expect(await screen.findByText("https://acme.test/mcp/orders")).toBeTruthy();
  expect(await screen.findByText("search_orders")).toBeTruthy();
  expect(document.title).toBe("Overview · Acme · Latchkey");
  await accessible();
});

test("who may read little sees a page without the rest, and nothing is asked that would be refused", async () => {
  const seen = platform({ ...answers, "GET /me": () => ({ ...dana, permissions: ["tenant:read"] }) });
  open("/");
  expect(await screen.findByText("Nothing does")).toBeTruthy();
  expect(seen.map((s) => s.path.replace(/.*v1/, ""))).toEqual(["/me"]);
});
