import { describe, expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { eventParser, type ServerEvent } from "~/lib/sse";
import { visibleRows } from "~/lib/window";
import { auditQuery, badFilters, exportURL, fromLocalInput, timeWords, toLocalInput } from "./filters";
import { searched } from "./searched";
import { noTail, onTop, pause, receive, resume, type AuditEvent } from "./tail";
import { action, operationWords, sentence } from "./words";

const event = (n: number, more: Partial<AuditEvent> = {}): AuditEvent => ({
  id: `au${String(n).padStart(18, "0")}`, at: new Date(1_700_000_000_000 + n * 1000).toISOString(), call_id: `c${n}`, phase: "outcome", method: "tools/call", outcome: "done", decision: "allowed", ...more,
});
const ids = (events: readonly AuditEvent[]) => events.map((e) => Number(e.id.slice(2)));

describe("filters", () => {
  const now = Date.parse("2025-03-01T12:00:00Z");

  test("a range is a time that stays while its pages are read", () => {
    expect(auditQuery({ range: "1h", server: "orders", event: "au1", live: true }, now)).toEqual({ since: "2025-03-01T11:00:00.000Z", server: "orders" });
  });

  test("a range wins over times, as the control shows", () => {
    expect(auditQuery({ range: "1h", since: "2020-01-01T00:00:00Z" }, now)).toEqual({ since: "2025-03-01T11:00:00.000Z" });
    expect(timeWords({ range: "1h", since: "2020-01-01T00:00:00Z" })).toBe("Last hour");
    expect(timeWords({})).toBe("Any time");
  });

  test("what the API would refuse is said before it is asked", () => {
    expect(badFilters({ server: "Orders!", grant: "x", code: "Not A Code", since: "2025-01-02T00:00:00Z", until: "2025-01-01T00:00:00Z" })).toHaveLength(4);
    expect(badFilters({ server: "orders", code: "role_not_allowed", grant: `gr${"a".repeat(18)}` })).toEqual([]);
  });

  test("the export has the list's filters, escaped", () => {
    const url = new URL(exportURL("/t/acme/api/v1", "acme", "csv", { client: "https://vscode.dev/a?b&c", outcome: "refused" }), "http://x");
    expect(url.pathname).toBe("/t/acme/api/v1/tenants/acme/audit/export");
    expect(Object.fromEntries(url.searchParams)).toEqual({ format: "csv", client: "https://vscode.dev/a?b&c", outcome: "refused" });
  });

  test("times of the browser's zone go and come back", () => {
    const iso = "2025-03-01T12:34:00.000Z";
    expect(fromLocalInput(toLocalInput(iso))).toBe(iso);
    expect(fromLocalInput("")).toBeUndefined();
    expect(fromLocalInput("yesterday")).toBeUndefined();
  });
});

describe("pages", () => {
  test("short and empty pages are searched on, and how far is known", () => {
    const state = searched([{ data: [event(9), event(8)], has_more: true }, { data: [], has_more: true }, { data: [event(5)], has_more: true }, { data: [], has_more: true }, { data: [], has_more: true }]);
    expect(ids(state.rows)).toEqual([9, 8, 5]);
    expect(state).toMatchObject({ emptyRun: 2, pages: 5, back: event(5).at });
  });

  test("an empty page says how far it searched", () => {
    expect(searched([{ data: [event(9)], has_more: true, searched_to: event(9).at }, { data: [], has_more: true, searched_to: event(3).at }]).back).toBe(event(3).at);
    expect(searched([{ data: [], has_more: true, searched_to: event(3).at }]).back).toBe(event(3).at);
  });

  test("a record that stands on two pages is shown once", () => {
    expect(ids(searched([{ data: [event(2)], has_more: true }, { data: [event(2), event(1)], has_more: false }]).rows)).toEqual([2, 1]);
  });
});

describe("tail", () => {
  test("the newest is on top, and what a stream repeats is left out", () => {
    let tail = receive(noTail, [event(1), event(2)]);
    tail = receive(tail, [event(2), event(4), event(3)]);
    expect(ids(tail.rows)).toEqual([4, 3, 2, 1]);
    expect(receive(tail, [event(4)])).toBe(tail);
  });

  test("while paused the list stays and the new ones wait", () => {
    let tail = pause(receive(noTail, [event(1)]));
    tail = receive(tail, [event(2), event(3)]);
    expect([ids(tail.rows), ids(tail.held)]).toEqual([[1], [3, 2]]);
    tail = resume(tail);
    expect([ids(tail.rows), ids(tail.held), tail.paused]).toEqual([[3, 2, 1], [], false]);
  });

  test("the list is bounded, paused or not, and says how many it let go", () => {
    let tail = receive(noTail, [1, 2, 3, 4, 5].map((n) => event(n)), 3);
    expect([ids(tail.rows), tail.dropped]).toEqual([[5, 4, 3], 2]);
    tail = receive(pause(tail), [6, 7, 8, 9].map((n) => event(n)), 3);
    expect([ids(tail.held), tail.dropped]).toEqual([[9, 8, 7], 3]);
    expect(ids(resume(tail, 3).rows)).toEqual([9, 8, 7]);
  });

  test("what was there before stands below, without doubles", () => {
    expect(ids(onTop(receive(noTail, [event(3), event(4)]), [event(3), event(2)]))).toEqual([4, 3, 2]);
  });
});

describe("event stream", () => {
  const read = (...chunks: string[]) => {
    const out: ServerEvent[] = [];
    const parse = eventParser((e) => out.push(e));
    for (const chunk of chunks) parse(chunk);
    return out;
  };

  test("pieces may be cut anywhere", () => {
    const text = ": hello\n\nevent: record\nid: au1\ndata: {\"a\":1}\n\ndata: x\ndata: y\n\n";
    const whole = read(text);
    expect(whole).toEqual([{ event: "record", data: '{"a":1}', id: "au1" }, { event: "message", data: "x\ny", id: "au1" }]);
    expect(read(...text)).toEqual(whole);
  });

  test("all line ends are lines' ends, also across pieces", () => {
    expect(read("data: a\r", "\n\r\n", "data: b\r\rdata: c\n\n").map((e) => e.data)).toEqual(["a", "b", "c"]);
  });

  test("an event that was cut off is not one", () => {
    expect(read("data: half\n")).toEqual([]);
  });
});

test("of many rows only those in sight exist", () => {
  expect(visibleRows(0, 380, 38, 5000)).toEqual({ from: 0, to: 20 });
  expect(visibleRows(38 * 1000, 380, 38, 5000)).toEqual({ from: 990, to: 1020 });
  expect(visibleRows(1e9, 380, 38, 50)).toEqual({ from: 49, to: 50 });
  expect(visibleRows(0, 380, 38, 0)).toEqual({ from: 0, to: 0 });
});

describe("words", () => {
  test("operations read like what they do", () => {
    expect(["putRole", "createAPIKey", "listAPIKeys", ""].map(operationWords)).toEqual(["put role", "create API key", "list API keys", "change"]);
  });

  test("a record is one sentence", () => {
    const call: Partial<Schemas["AuditEvent"]> = { member: "vic@acme.test", client_name: "Claude", server: "orders", tool: "issue_refund" };
    expect(sentence(event(1, call))).toBe("vic@acme.test called issue_refund on orders through Claude");
    expect(action(event(1, { method: "api", tool: "putRole" }))).toBe("put role");
    expect(sentence(event(1, {}))).toBe("nobody known called tools/call");
  });
});
