import { count } from "~/lib/words";
import { RiskMark } from "~/ui/risk";
import type { Place, rectangle } from "./keys";
import { cellOf, type Model } from "./model";
import { heights, type Row } from "./rows";
import classes from "./grid.module.css";

interface Size {
  head: number;
  cell: number;
}

interface HeaderProps {
  id: string;
  model: Model;
  size: Size;
  left: number;
  right: number;
  height: number;
  active: Place;
}

export function GridHeader({ id, model, size, left, right, height, active }: HeaderProps) {
  return (
    <div role="row" aria-rowindex={1} className={classes.header} style={{ height }}>
      <div role="columnheader" aria-colindex={1} className={classes.corner} style={{ width: size.head }}>Scope</div>
      {model.roles.slice(left, right).map((role, i) => {
        const col = left + i;
        return (
          <div
            key={role.name} id={`${id}--1-${col}`} role="columnheader" aria-colindex={col + 2} data-row={-1} data-col={col} data-active={(active.row === -1 && active.col === col) || undefined}
            className={classes.role} style={{ left: size.head + col * size.cell, width: size.cell }} title={role.description ? `${role.name}: ${role.description}` : role.name}
          >
            <span className={classes.roleName}>{role.name}</span>
            <span className={classes.roleMembers}>{count(role.members, "person", "people")}</span>
          </div>
        );
      })}
    </div>
  );
}

interface RowProps {
  id: string;
  model: Model;
  row: Row;
  at: number;
  top: number;
  size: Size;
  left: number;
  right: number;
  active: Place;
  range: ReturnType<typeof rectangle>;
}

export function GridRow({ id, model, row, at, top, size, left, right, active, range }: RowProps) {
  const cells = [];
  const wide = range.top !== range.bottom || range.left !== range.right;
  for (let col = left; col < right; col++) {
    const place = { left: size.head + col * size.cell, width: size.cell };
    if (row.kind === "tool") {
      cells.push(
        <div key={col} role="gridcell" aria-colindex={col + 2} className={classes.cell} style={place}>
          {model.now[cellOf(model, col, row.scope)] === 1 && <span className={classes.follows} role="img" aria-label={`${model.roles[col]!.name} can call it`} />}
        </div>,
      );
      continue;
    }
    const state = row.kind === "scope" ? scopeState(model, row.scope, col) : serverState(model, row.scopes, col);
    const isActive = active.row === at && active.col === col;
    const selected = wide && at >= range.top && at <= range.bottom && col >= range.left && col <= range.right;
    cells.push(
      <div key={col} role="gridcell" aria-colindex={col + 2} aria-selected={selected || isActive} className={classes.cell} style={place} data-row={at} data-col={col}
        data-selected={selected || undefined} data-changed={state.changed || undefined} data-active={isActive || undefined}>
        <span id={`${id}-${at}-${col}`} role="checkbox" aria-checked={state.checked} aria-label={`${model.roles[col]!.name} opens ${state.name}${state.changed ? ", not saved yet" : ""}`} className={classes.check} />
      </div>,
    );
  }
  return (
    <div role="row" aria-rowindex={at + 2} className={classes.row} data-kind={row.kind} style={{ height: heights[row.kind], transform: `translateY(${top}px)` }}>
      <RowHeader id={id} model={model} row={row} at={at} width={size.head} active={active.row === at && active.col === -1} />
      {cells}
    </div>
  );
}

function RowHeader({ id, model, row, at, width, active }: { id: string; model: Model; row: Row; at: number; width: number; active: boolean }) {
  if (row.kind === "tool") {
    return (
      <div role="rowheader" aria-colindex={1} className={classes.rowHead} style={{ width }} title={row.tool.description}>
        <span className={classes.tool}><RiskMark risk={row.tool.risk} bare /><span className={classes.cut}>{row.tool.title || row.tool.name}</span></span>
      </div>
    );
  }
  const scope = row.kind === "scope" ? model.scopes[row.scope]! : undefined;
  const tools = scope?.tools.map((tool) => tool.title || tool.name) ?? [];
  return (
    <div id={`${id}-${at}--1`} role="rowheader" aria-colindex={1} className={classes.rowHead} style={{ width }} data-row={at} data-col={-1} data-active={active || undefined} title={tools.join(", ") || undefined}>
      {row.kind === "server" ? (
        <span className={classes.server}><span className={classes.cut}>{row.title}</span><span className={classes.faint}>{count(row.scopes.length, "scope")}</span></span>
      ) : (
        <>
          <span className={classes.scope}><RiskMark risk={scope!.risk} bare /><span className={classes.cut}>{scope!.scope}</span></span>
          <span className={classes.tools}>{tools.length ? tools.join(", ") : scope!.published === false ? "served by no tool now" : "no tools"}</span>
        </>
      )}
    </div>
  );
}

interface CellState {
  checked: boolean | "mixed";
  changed: boolean;
  name: string;
}

function scopeState(model: Model, scope: number, role: number): CellState {
  const cell = cellOf(model, role, scope);
  const { server, scope: name } = model.scopes[scope]!;
  return { checked: model.now[cell] === 1, changed: model.now[cell] !== model.saved[cell], name: `${name} on ${server}` };
}

function serverState(model: Model, scopes: readonly number[], role: number): CellState {
  let open = 0;
  let changed = false;
  for (const scope of scopes) {
    const cell = cellOf(model, role, scope);
    open += model.now[cell]!;
    changed ||= model.now[cell] !== model.saved[cell];
  }
  return { checked: open === 0 ? false : open === scopes.length || "mixed", changed, name: `all of ${model.scopes[scopes[0]!]!.server}` };
}
