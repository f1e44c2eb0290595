import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test, vi } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";

const id = (n: number) => `au${String(n).padStart(18, "0")}`;
const event = (n: number, more: Partial<Schemas["AuditEvent"]> = {}): Schemas["AuditEvent"] => ({
  id: id(n), at: new Date(Date.now() - n * 60_000).toISOString(), call_id: `c${n}`, phase: "outcome", method: "tools/call", member: "fred@acme.test", client: "cl1", client_name: "Claude", server: "orders", tool: "search_orders", outcome: "done", decision: "allowed", latency_ms: 14, ...more,
});
const refused = event(2, { member: "vic@acme.test", tool: "issue_refund", outcome: "refused", decision: "refused", category: "access", code: "role_not_allowed", phase: "refusal", reason: "None of the roles viewer opens refunds:write." });
const none = { data: [], has_more: false };

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/members": () => none,
  "GET /tenants/{tenant}/servers": () => none,
  "GET /tenants/{tenant}/tools": () => none,
  "GET /tenants/{tenant}/clients": () => none,
  "GET /tenants/{tenant}/audit/events": () => ({ data: [event(1), refused], has_more: false }),
  "GET /tenants/{tenant}/audit/events/{event}": () => ({ event: refused, call: [event(3, { phase: "intent", outcome: "pending" }), refused] }),
};

afterEach(() => vi.useRealTimers());

test("filters of the URL are asked for, and a denial says so in its row", async () => {
  const seen = platform(answers);
  open("/audit?member=vic@acme.test&outcome=refused&range=24h");
  const row = await screen.findByRole("row", { name: /Refused.*issue_refund.*vic@acme.test.*role_not_allowed/ });
  expect(row).toBeTruthy();
  const asked = seen.find((s) => s.path.endsWith("/audit/events"))!.query;
  expect(Object.fromEntries(asked)).toMatchObject({ member: "vic@acme.test", outcome: "refused", limit: "100" });
  expect(Date.now() - Date.parse(asked.get("since")!)).toBeGreaterThan(86_000_000);
  await accessible();
});

test("empty pages are searched on to the next, and all pages are of one time", async () => {
  let n = 0;
  const seen = platform({ ...answers, "GET /tenants/{tenant}/audit/events": () => (++n < 4 ? { data: [], has_more: true, next_cursor: `c${n}` } : { data: [event(9)], has_more: false }) });
  open("/audit?range=7d");
  expect(await screen.findByRole("row", { name: /search_orders/ })).toBeTruthy();
  const pages = seen.filter((s) => s.path.endsWith("/audit/events"));
  expect(pages.map((s) => s.query.get("cursor"))).toEqual([null, "c1", "c2", "c3"]);
  expect(new Set(pages.map((s) => s.query.get("since"))).size).toBe(1);
  expect(await screen.findByText("1 record; that is all.")).toBeTruthy();
});

test("a search that finds nothing for long asks before it goes on", async () => {
  let n = 0;
  platform({ ...answers, "GET /tenants/{tenant}/audit/events": () => ({ data: [], has_more: true, next_cursor: `c${++n}`, searched_to: `2025-02-${n < 19 ? 28 - n : 10}T12:00:00Z` }) });
  open("/audit?code=no_worker");
  const more = await screen.findByRole("button", { name: "Search further back" });
  expect(screen.getByText(/^0 records\. Searched back to 10 Feb 2025/)).toBeTruthy();
  expect(n).toBe(20);
  await userEvent.click(more);
  await waitFor(() => expect(n).toBe(40));
});

test("the keyboard goes through the rows and opens one, with what to do and the rest of its call", async () => {
  platform(answers);
  const { router } = open("/audit");
  const grid = await screen.findByRole("grid", { name: "Records" });
  grid.focus();
  await userEvent.keyboard("{ArrowDown}{Enter}");
  expect(router.state.location.search).toMatchObject({ event: refused.id });
  const drawer = await screen.findByRole("dialog");
  expect(await within(drawer).findByText(/open the scope for one of their roles/)).toBeTruthy();
  expect(within(drawer).getByText("Recorded before it ran", { exact: false })).toBeTruthy();
  await accessible();
  await userEvent.click(within(drawer).getByRole("button", { name: "Filter by person vic@acme.test" }));
  await waitFor(() => expect(router.state.location.search).toEqual({ member: "vic@acme.test" }));
});

test("a filter that the API cannot take is said instead of asked", async () => {
  const seen = platform(answers);
  open("/audit?grant=nonsense");
  expect(await screen.findByText(/cannot be a grant/)).toBeTruthy();
  expect(seen.some((s) => s.path.endsWith("/audit/events"))).toBe(false);
});

test("a failed search keeps its request id and can be tried again", async () => {
  let fail = true;
  platform({ ...answers, "GET /tenants/{tenant}/audit/events": () => (fail ? problem(503, "platform_store_unavailable", "The store does not answer.") : { data: [event(1)], has_more: false }) });
  open("/audit");
  expect(await screen.findByText("rq-test")).toBeTruthy();
  fail = false;
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("row", { name: /search_orders/ })).toBeTruthy();
});

test("the live tail shows what comes, holds it while paused, and goes on where it ended", async () => {
  platform(answers);
  const api = globalThis.fetch;
  const lines: { last: string | null; send: (text: string) => void; end: () => void }[] = [];
  vi.stubGlobal("fetch", async (input: Request | string, init?: RequestInit) => {
    if (typeof input !== "string") return api(input);
    let control!: ReadableStreamDefaultController<Uint8Array>;
    const stream = new ReadableStream<Uint8Array>({ start: (c) => { control = c; } });
    const encoder = new TextEncoder();
    lines.push({ last: new Headers(init?.headers).get("Last-Event-ID"), send: (text) => control.enqueue(encoder.encode(text)), end: () => control.close() });
    return new Response(stream, { status: 200, headers: { "content-type": "text/event-stream" } });
  });
  const record = (e: Schemas["AuditEvent"]) => `event: record\nid: ${e.id}\ndata: ${JSON.stringify(e)}\n\n`;

  open("/audit?live=true&server=orders");
  await screen.findByText(/Live: records appear/);
  lines[0]!.send(record(event(0, { id: id(100), tool: "first_tool" })));
  expect(await screen.findByRole("row", { name: /first_tool/ })).toBeTruthy();
  await userEvent.click(screen.getByRole("button", { name: "Pause" }));
  lines[0]!.send(record(event(0, { id: id(101), tool: "second_tool", at: new Date(Date.now() + 1000).toISOString() })));
  await userEvent.click(await screen.findByRole("button", { name: "Show 1 new record" }));
  expect(screen.getAllByRole("row")[1]!.textContent).toContain("second_tool");
  lines[0]!.end();
  await waitFor(() => expect(lines).toHaveLength(2));
  expect(lines[1]!.last).toBe(id(101));
  await accessible();
});
