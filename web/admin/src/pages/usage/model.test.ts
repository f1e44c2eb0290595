import { expect, test } from "vitest";
import { sortGroups } from "./groups";
import { alone, drill, errorRows, isLoop, ms, narrowing, nextGrouping, percent, points, type Group, type Numbers } from "./model";

const numbers = (calls: number, more: Partial<Numbers> = {}): Numbers => ({ calls, done: calls, failed: 0, refused: 0, unknown: 0, ...more });

test("a click narrows to the row; a tool is one of its server", () => {
  const group: Group = { key: "issue_refund", server: "orders", numbers: numbers(1) };
  expect(drill("tool", group)).toEqual({ server: "orders", tool: "issue_refund" });
  expect(drill("member", { key: "fred@acme.test", numbers: numbers(1) })).toEqual({ member: "fred@acme.test" });
  expect(["server", "tool", "member", "client"].map((by) => nextGrouping(by as "tool"))).toEqual(["tool", "member", "tool", "member"]);
});

test("only what narrows is sent", () => {
  expect(narrowing({ range: "7d", by: "tool", server: "orders" })).toEqual({ server: "orders" });
});

test("a point without calls has a gap, not a latency of nothing", () => {
  const data = points({ step_s: 900, series: [{ at: "2025-03-01T12:00:00Z", numbers: numbers(0) }, { at: "2025-03-01T12:15:00Z", numbers: numbers(4, { done: 3, failed: 1, p50_ms: 12.34, p95_ms: 40 }) }] });
  expect(data[0]).toMatchObject({ done: 0, p50: null, p95: null, p99: null });
  expect(data[1]).toMatchObject({ done: 3, failed: 1, p50: 12.3, p95: 40, p99: null });
  expect(data[0]!.label).toMatch(/^\d\d:\d\d$/);
  expect(points({ step_s: 7200, series: [{ at: "2025-03-01T12:00:00Z", numbers: numbers(1) }] })[0]!.label).toMatch(/Mar/);
});

test("a latency between gaps is a dot, as no line leads to it", () => {
  const at = "2025-03-01T12:00:00Z";
  const dots = (...values: (number | undefined)[]) => {
    const data = points({ step_s: 900, series: values.map((p50_ms) => ({ at, numbers: numbers(1, { p50_ms }) })) });
    return data.map((_, i) => alone(data, i, "p50"));
  };
  expect(dots(5)).toEqual([true]);
  expect(dots(undefined, 0, undefined, 3, 4)).toEqual([false, true, false, false, false]);
});

test("shares and times are short, and small ones are not nothing", () => {
  expect([percent(0, 0), percent(0, 9), percent(1, 5000), percent(1, 40), percent(1, 2)]).toEqual(["0%", "0%", "<0.1%", "2.5%", "50%"]);
  expect([ms(undefined), ms(14.2), ms(5000)]).toEqual(["–", "14 ms", expect.stringMatching(/^5(\.0)? s$/)]);
});

test("errors stand by size, and categories without one are left out", () => {
  expect(errorRows(numbers(9, { errors: { access: 2, internal: 0, downstream: 5 } }))).toEqual([{ category: "downstream", calls: 5 }, { category: "access", calls: 2 }]);
  expect(errorRows(numbers(9))).toEqual([]);
});

test("a loop is much in a minute, and much more than others", () => {
  const busiest = [212, 31, 9].map((calls) => ({ calls }));
  expect(busiest.map((b) => isLoop(b.calls, busiest))).toEqual([true, false, false]);
  expect(isLoop(59, [{ calls: 59 }])).toBe(false);
  expect(isLoop(90, [{ calls: 90 }, { calls: 88 }, { calls: 85 }])).toBe(false);
});

test("groups sort by any column, those without a latency last", () => {
  const groups: Group[] = [{ key: "b", numbers: numbers(1, { p95_ms: 9 }) }, { key: "a", numbers: numbers(5) }, { key: "c", label: "A name", numbers: numbers(3, { p95_ms: 40 }) }];
  expect(sortGroups(groups, "calls", true).map((g) => g.key)).toEqual(["a", "c", "b"]);
  expect(sortGroups(groups, "p95", true).map((g) => g.key)).toEqual(["c", "b", "a"]);
  expect(sortGroups(groups, "key", false).map((g) => g.key)).toEqual(["c", "a", "b"]);
});
