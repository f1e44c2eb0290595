import { describe, expect, test } from "vitest";
import { bigMatrix, matrix } from "./access.fixture";
import { effective } from "./effective";
import { move, rectangle } from "./keys";
import { edit, fromMatrix } from "./model";
import { buildRows, cellsOf, rowAt } from "./rows";
import { destructive, headline, summarize, toolWords } from "./summary";

const m = fromMatrix(matrix);

describe("rows", () => {
  test("each server stands above its scopes", () => {
    const { rows, tops } = buildRows(m, {});
    expect(rows.map((r) => (r.kind === "server" ? r.server : r.kind === "scope" ? m.scopes[r.scope]!.scope : r.tool.name))).toEqual(["diagnostics", "diagnostics", "orders", "orders:read", "refunds:write", "notes:write"]);
    expect(tops.at(-1)).toBe(2 * 34 + 4 * 44);
  });

  test("tools stand under their scope when they are asked for", () => {
    expect(buildRows(m, { tools: true }).rows.filter((r) => r.kind === "tool")).toHaveLength(5);
  });

  test("filters by words over scopes, servers and tools, by risk and by server", () => {
    const names = (view: Parameters<typeof buildRows>[1]) => buildRows(m, view).rows.flatMap((r) => (r.kind === "scope" ? [m.scopes[r.scope]!.scope] : []));
    expect(names({ q: "refund" })).toEqual(["refunds:write"]);
    expect(names({ q: "ORDERS note" })).toEqual(["notes:write"]);
    expect(names({ risk: "destructive" })).toEqual(["refunds:write"]);
    expect(names({ server: "diagnostics" })).toEqual(["diagnostics"]);
    expect(names({ q: "nothing" })).toEqual([]);
  });

  test("a server's cell stands for the scopes of it that are shown", () => {
    const { rows } = buildRows(m, { risk: "write" });
    expect(cellsOf(m, rows[0], 2)).toEqual([2 * 4 + 3]);
    expect(cellsOf(m, undefined, 0)).toEqual([]);
  });

  test("the row at a place is found, also among thousands", () => {
    const big = buildRows(fromMatrix(bigMatrix()), {});
    for (const at of [0, 1, 20, 21, 262, big.rows.length - 1]) {
      expect(rowAt(big.tops, big.tops[at]!)).toBe(at);
      expect(rowAt(big.tops, big.tops[at + 1]! - 1)).toBe(at);
    }
    expect(rowAt(big.tops, 1e9)).toBe(big.rows.length - 1);
  });
});

describe("keys", () => {
  const { rows } = buildRows(m, { tools: true });
  const grid = { rows, cols: 3, page: 4 };
  const go = (key: string, row: number, col: number, ctrl = false) => move(key, ctrl, { row, col }, grid);

  test("arrows pass over tools", () => {
    expect(rows.map((r) => r.kind).slice(0, 5)).toEqual(["server", "scope", "tool", "server", "scope"]);
    expect(go("ArrowDown", 1, 0)).toEqual({ row: 3, col: 0 });
    expect(go("ArrowUp", 3, 0)).toEqual({ row: 1, col: 0 });
  });

  test("the headers are reached, and nothing beyond them", () => {
    expect(go("ArrowUp", 0, 1)).toEqual({ row: -1, col: 1 });
    expect(go("ArrowUp", -1, 1)).toEqual({ row: -1, col: 1 });
    expect(go("ArrowLeft", 1, 0)).toEqual({ row: 1, col: -1 });
    expect(go("ArrowLeft", -1, 0)).toEqual({ row: -1, col: 0 });
    expect(go("ArrowRight", 1, 2)).toEqual({ row: 1, col: 2 });
  });

  test("Home and End stay in the row, with Control they go to the corners", () => {
    expect(go("Home", 4, 2)).toEqual({ row: 4, col: 0 });
    expect(go("End", 4, 0)).toEqual({ row: 4, col: 2 });
    expect(go("Home", 4, 2, true)).toEqual({ row: 0, col: 0 });
    const end = go("End", 0, 0, true)!;
    expect(end.col).toBe(2);
    expect(rows[end.row]!.kind).toBe("scope");
  });

  test("pages do not end on a tool", () => {
    for (let row = 0; row < rows.length; row++) {
      for (const key of ["PageUp", "PageDown"]) expect(rows[go(key, row, 0)!.row]!.kind).not.toBe("tool");
    }
  });

  test("other keys are left alone", () => {
    expect(go("a", 0, 0)).toBeUndefined();
  });

  test("a range may be drawn in any direction and leaves headers out", () => {
    expect(rectangle({ row: 5, col: 2 }, { row: 1, col: 0 })).toEqual({ top: 1, bottom: 5, left: 0, right: 2 });
    expect(rectangle({ row: -1, col: 1 }, { row: 2, col: -1 })).toEqual({ top: 0, bottom: 2, left: 0, right: 1 });
  });
});

describe("in words", () => {
  const changed = edit(edit(m, [2 * 4 + 2, 2 * 4 + 3], true), [1 * 4 + 1], false);

  test("what each role opens and closes", () => {
    const s = summarize(changed);
    expect(s.map((r) => [r.role, r.opens.map((o) => o.words), r.closes.map((o) => o.words)])).toEqual([
      ["finance", [], ["orders:read on Orders: 2 tools that only read"]],
      ["viewer", ["refunds:write on Orders: 1 tool that cannot be undone", "notes:write on Orders: 1 tool that changes things"], []],
    ]);
    expect(headline(s)).toBe("finance closes 1 scope; viewer opens 2 scopes");
    expect(destructive(s)).toBe(1);
  });

  test("a scope without tools says so", () => {
    expect(toolWords({ ...matrix.scopes[0]!, tools: [], resources: 2 })).toBe("2 resources");
    expect(toolWords({ ...matrix.scopes[0]!, tools: [] })).toBe("nothing is served under it now");
  });
});

describe("what a person can call", () => {
  const scopes = (roles: string[], model = m, pending = false) => effective(model, roles, pending).flatMap((s) => s.open.map((o) => [o.scope.scope, o.roles.join("+"), o.change]));

  test("is what any of their roles opens", () => {
    expect(scopes(["finance", "viewer"])).toEqual([["orders:read", "finance+viewer", "same"], ["refunds:write", "finance", "same"]]);
    expect(scopes([])).toEqual([]);
    expect(scopes(["gone"])).toEqual([]);
  });

  test("and what the pending changes give and take", () => {
    const changed = edit(edit(m, [2 * 4 + 3], true), [2 * 4 + 1], false);
    expect(scopes(["viewer"], changed, true)).toEqual([["orders:read", "viewer", "loses"], ["notes:write", "viewer", "gains"]]);
    expect(scopes(["viewer"], changed, false)).toEqual([["orders:read", "viewer", "same"]]);
    // Another role still opens it, so nothing is lost.
    expect(scopes(["viewer", "finance"], changed, true)[0]).toEqual(["orders:read", "finance", "same"]);
  });
});
