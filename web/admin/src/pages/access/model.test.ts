import { describe, expect, test } from "vitest";
import { matrix } from "./access.fixture";
import { cellOf, changes, discard, edit, fromMatrix, rebase, redo, toggle, undo, type Model } from "./model";

const cell = (m: Model, role: string, scope: string) => cellOf(m, m.roles.findIndex((r) => r.name === role), m.scopes.findIndex((s) => s.scope === scope));
const isOpen = (m: Model, role: string, scope: string) => m.now[cell(m, role, scope)] === 1;

test("scopes stand server by server, and open pairs follow them", () => {
  const m = fromMatrix(matrix);
  expect(m.scopes.map((s) => s.scope)).toEqual(["diagnostics", "orders:read", "refunds:write", "notes:write"]);
  expect(isOpen(m, "admin", "diagnostics")).toBe(true);
  expect(isOpen(m, "finance", "refunds:write")).toBe(true);
  expect(isOpen(m, "finance", "diagnostics")).toBe(false);
  expect(isOpen(m, "viewer", "orders:read")).toBe(true);
});

describe("editing", () => {
  test("a toggle there and back is no change", () => {
    const m = fromMatrix(matrix);
    const c = [cell(m, "viewer", "notes:write")];
    const once = toggle(m, c);
    expect(once.pending).toBe(1);
    expect(changes(once)).toEqual([{ role: "viewer", server: "orders", scope: "notes:write", open: true }]);
    expect(toggle(once, c).pending).toBe(0);
    expect(m.pending).toBe(0);
  });

  test("several cells open together unless all are open, and are one step", () => {
    const m = fromMatrix(matrix);
    const column = m.scopes.map((_, i) => cellOf(m, 1, i));
    const opened = toggle(m, column);
    expect(changes(opened).map((c) => c.scope)).toEqual(["diagnostics", "notes:write"]);
    expect(undo(opened).pending).toBe(0);
    const closed = toggle(opened, column);
    expect(changes(closed)).toEqual([
      { role: "finance", server: "orders", scope: "orders:read", open: false },
      { role: "finance", server: "orders", scope: "refunds:write", open: false },
    ]);
  });

  test("what changes nothing is no step", () => {
    const m = fromMatrix(matrix);
    expect(edit(m, [cell(m, "admin", "diagnostics")], true)).toBe(m);
    expect(edit(m, [], true)).toBe(m);
  });

  test("the same cell twice flips once", () => {
    const m = fromMatrix(matrix);
    const c = cell(m, "viewer", "notes:write");
    expect(edit(m, [c, c], true).pending).toBe(1);
  });
});

describe("undo and redo", () => {
  test("go back and forth step by step", () => {
    const m = fromMatrix(matrix);
    const a = edit(m, [cell(m, "viewer", "notes:write"), cell(m, "viewer", "diagnostics")], true);
    const b = edit(a, [cell(m, "admin", "orders:read")], false);
    expect(b.pending).toBe(3);
    const back = undo(b);
    expect([back.pending, undo(back).pending]).toEqual([2, 0]);
    expect(undo(undo(undo(back))).pending).toBe(0);
    expect(redo(redo(undo(undo(b)))).now).toEqual(b.now);
    expect(redo(b)).toBe(b);
  });

  test("a new edit forgets what was undone", () => {
    const m = fromMatrix(matrix);
    const undone = undo(edit(m, [0], false));
    const other = edit(undone, [cell(m, "viewer", "notes:write")], true);
    expect(redo(other)).toBe(other);
  });

  test("discarding forgets everything", () => {
    const m = edit(fromMatrix(matrix), [cell(fromMatrix(matrix), "viewer", "notes:write")], true);
    const gone = discard(m);
    expect([gone.pending, gone.past.length, gone.now]).toEqual([0, 0, m.saved]);
  });
});

describe("on top of what somebody else saved", () => {
  test("our changes stay, and theirs are there", () => {
    const m = fromMatrix(matrix);
    const ours = edit(edit(m, [cell(m, "viewer", "notes:write")], true), [cell(m, "finance", "orders:read")], false);
    const theirs = { ...matrix, open: [...matrix.open, 2, 2] };
    const { model, lost } = rebase(ours, theirs);
    expect(lost).toEqual([]);
    expect(isOpen(model, "viewer", "diagnostics")).toBe(true);
    expect(changes(model)).toEqual(changes(ours));
  });

  test("what they did as well is no change any more", () => {
    const m = fromMatrix(matrix);
    const ours = edit(m, [cell(m, "viewer", "notes:write")], true);
    expect(rebase(ours, { ...matrix, open: [...matrix.open, 2, 3] }).model.pending).toBe(0);
  });

  test("what is about a role or a scope that is gone is named", () => {
    const m = fromMatrix(matrix);
    const ours = edit(m, [cell(m, "viewer", "notes:write"), cell(m, "finance", "notes:write"), cell(m, "finance", "diagnostics")], true);
    const { model, lost } = rebase(ours, { roles: matrix.roles.slice(0, 2), scopes: matrix.scopes.slice(0, 3), open: [] });
    expect(lost).toEqual(["notes:write on orders is gone", "the role viewer is gone"]);
    expect(changes(model)).toEqual([{ role: "finance", server: "diagnostics", scope: "diagnostics", open: true }]);
  });
});
