import type { Schemas } from "~/api/client";

export type Matrix = Schemas["AccessMatrix"];
export type Scope = Schemas["Scope"];
export type Role = Schemas["MatrixRole"];

/** One step that can be undone: the cells that flipped, all to the same side. */
interface Step {
  cells: readonly number[];
  open: boolean;
}

/**
 * The matrix as saved and as edited. A cell is a number, `role * scopes.length + scope`,
 * and its value is 1 where the role opens the scope. Every edit makes a new Model and
 * leaves the old one as it was.
 */
export interface Model {
  roles: readonly Role[];
  scopes: readonly Scope[];
  saved: Uint8Array;
  now: Uint8Array;
  past: readonly Step[];
  future: readonly Step[];
  /** How many cells differ from what is saved. */
  pending: number;
}

export function fromMatrix(matrix: Matrix): Model {
  // The API's order within a server is kept; servers are brought together.
  const order = matrix.scopes.map((_, i) => i).toSorted((a, b) => {
    const x = matrix.scopes[a]!;
    const y = matrix.scopes[b]!;
    return x.server.localeCompare(y.server) || a - b;
  });
  const place = new Map(order.map((old, i) => [old, i]));
  const saved = new Uint8Array(matrix.roles.length * matrix.scopes.length);
  for (let i = 0; i + 1 < matrix.open.length; i += 2) {
    saved[matrix.open[i]! * matrix.scopes.length + place.get(matrix.open[i + 1]!)!] = 1;
  }
  return { roles: matrix.roles, scopes: order.map((i) => matrix.scopes[i]!), saved, now: saved.slice(), past: [], future: [], pending: 0 };
}

export const cellOf = (model: Model, role: number, scope: number) => role * model.scopes.length + scope;
export const roleOf = (model: Model, cell: number) => Math.floor(cell / model.scopes.length);
export const scopeOf = (model: Model, cell: number) => cell % model.scopes.length;

/** Opens or closes cells in one step; those that already are on that side are left out of it. */
export function edit(model: Model, cells: readonly number[], open: boolean): Model {
  const value = open ? 1 : 0;
  const flipped = [...new Set(cells)].filter((cell) => model.now[cell] !== value);
  if (flipped.length === 0) return model;
  return apply({ ...model, past: [...model.past, { cells: flipped, open }], future: [] }, flipped, open);
}

/** What a click or Space does: one cell flips; of several, all open unless all are. */
export function toggle(model: Model, cells: readonly number[]): Model {
  return edit(model, cells, !cells.every((cell) => model.now[cell] === 1));
}

export function undo(model: Model): Model {
  const step = model.past.at(-1);
  if (!step) return model;
  return apply({ ...model, past: model.past.slice(0, -1), future: [...model.future, step] }, step.cells, !step.open);
}

export function redo(model: Model): Model {
  const step = model.future.at(-1);
  if (!step) return model;
  return apply({ ...model, past: [...model.past, step], future: model.future.slice(0, -1) }, step.cells, step.open);
}

export function discard(model: Model): Model {
  return { ...model, now: model.saved.slice(), past: [], future: [], pending: 0 };
}

function apply(model: Model, cells: readonly number[], open: boolean): Model {
  const now = model.now.slice();
  let pending = model.pending;
  for (const cell of cells) {
    const was = now[cell] !== model.saved[cell];
    now[cell] = open ? 1 : 0;
    const is = now[cell] !== model.saved[cell];
    pending += Number(is) - Number(was);
  }
  return { ...model, now, pending };
}

/** The cells that differ from what is saved, in the order of the matrix. */
export function pendingCells(model: Model): number[] {
  const out: number[] = [];
  if (model.pending === 0) return out;
  for (let cell = 0; cell < model.now.length; cell++) if (model.now[cell] !== model.saved[cell]) out.push(cell);
  return out;
}

/** The body of the PATCH that saves everything at once. */
export function changes(model: Model): Schemas["AccessCell"][] {
  return pendingCells(model).map((cell) => {
    const { server, scope } = model.scopes[scopeOf(model, cell)]!;
    return { role: model.roles[roleOf(model, cell)]!.name, server, scope, open: model.now[cell] === 1 };
  });
}

/**
 * Puts what was edited here on top of a newer matrix, as one step. `lost` names what
 * cannot be kept because its role or scope is gone; what is already so is no change any more.
 */
export function rebase(old: Model, matrix: Matrix): { model: Model; lost: string[] } {
  const fresh = fromMatrix(matrix);
  const roles = new Map(fresh.roles.map((role, i) => [role.name, i]));
  const scopes = new Map(fresh.scopes.map((s, i) => [`${s.server} ${s.scope}`, i]));
  const lost: string[] = [];
  let model = fresh;
  for (const open of [true, false]) {
    const cells: number[] = [];
    for (const change of changes(old)) {
      if (change.open !== open) continue;
      const role = roles.get(change.role);
      const scope = scopes.get(`${change.server} ${change.scope}`);
      if (role === undefined) lost.push(`the role ${change.role} is gone`);
      else if (scope === undefined) lost.push(`${change.scope} on ${change.server} is gone`);
      else cells.push(cellOf(fresh, role, scope));
    }
    model = edit(model, cells, open);
  }
  return { model, lost: [...new Set(lost)] };
}
