import { useCallback, useId, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type MouseEvent, type PointerEvent } from "react";
import { GridHeader, GridRow } from "./grid-parts";
import { move, rectangle, type Place } from "./keys";
import type { Model } from "./model";
import { cellsOf, rowAt, type Rows } from "./rows";
import classes from "./grid.module.css";

export interface Selection {
  anchor: Place;
  active: Place;
}

interface Props {
  model: Model;
  rows: Rows;
  selection: Selection;
  onSelect: (selection: Selection) => void;
  /** Flips what is selected, or does nothing for who may only read. */
  onToggle: (cells: number[]) => void;
  onUndo: () => void;
  onRedo: () => void;
  /** A header was asked for its menu; `from` is where to put it. */
  onMenu: (place: Place, from: DOMRect) => void;
  readOnly: boolean;
  /** A bar stands below and needs its room. */
  below: boolean;
}

interface Window {
  top: number;
  bottom: number;
  left: number;
  right: number;
}

const headerHeight = 52;
const overscan = 4;

/**
 * The matrix as a grid in which only the cells in sight exist. The grid itself holds the
 * focus and names the active cell; one handler each for keys, clicks and drags serves all
 * cells, so that a cell is two elements and nothing else.
 */
export function AccessGrid({ model, rows, selection, onSelect, onToggle, onUndo, onRedo, onMenu, readOnly, below }: Props) {
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const dragging = useRef<Place | undefined>(undefined);
  const [seen, setSeen] = useState<Window>({ top: 0, bottom: 24, left: 0, right: 12 });
  const [size, setSize] = useState(sizes(1200));
  const cols = model.roles.length;
  const { active } = selection;

  const look = useCallback(() => {
    const el = box.current;
    if (!el) return;
    const measured = sizes(el.clientWidth);
    setSize((old) => (old.head === measured.head ? old : measured));
    const next = {
      top: Math.max(0, rowAt(rows.tops, el.scrollTop) - overscan),
      bottom: Math.min(rows.rows.length, rowAt(rows.tops, el.scrollTop + el.clientHeight) + overscan),
      left: Math.max(0, Math.floor(el.scrollLeft / measured.cell) - 2),
      right: Math.min(cols, Math.ceil((el.scrollLeft + el.clientWidth - measured.head) / measured.cell) + 2),
    };
    setSeen((old) => (old.top === next.top && old.bottom === next.bottom && old.left === next.left && old.right === next.right ? old : next));
  }, [rows, cols]);

  useLayoutEffect(() => {
    look();
    const observer = new ResizeObserver(look);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, [look]);

  const reveal = ({ row, col }: Place) => {
    const el = box.current!;
    if (row >= 0) {
      const top = rows.tops[row]!;
      const bottom = rows.tops[row + 1]!;
      if (top < el.scrollTop) el.scrollTop = top;
      else if (bottom > el.scrollTop + el.clientHeight - headerHeight) el.scrollTop = bottom - el.clientHeight + headerHeight;
    }
    if (col >= 0) {
      const left = col * size.cell;
      if (left < el.scrollLeft) el.scrollLeft = left;
      else if (left + size.cell > el.scrollLeft + el.clientWidth - size.head) el.scrollLeft = left + size.cell - el.clientWidth + size.head;
    }
    look();
  };

  const selectedCells = () => {
    const { top, bottom, left, right } = rectangle(selection.anchor, active);
    const cells: number[] = [];
    for (let row = top; row <= bottom; row++) {
      // A server's cell stands for its scopes only when it alone is selected.
      if (rows.rows[row]?.kind === "server" && top !== bottom) continue;
      for (let col = left; col <= right; col++) cells.push(...cellsOf(model, rows.rows[row], col));
    }
    return cells;
  };

  const onKeyDown = (e: KeyboardEvent) => {
    const command = e.ctrlKey || e.metaKey;
    const key = e.key.toLowerCase();
    if (command && (key === "z" || key === "y")) {
      e.preventDefault();
      if (key === "y" || e.shiftKey) onRedo();
      else onUndo();
      return;
    }
    if (command && key === "a") {
      e.preventDefault();
      onSelect({ anchor: { row: 0, col: 0 }, active: { row: rows.rows.length - 1, col: cols - 1 } });
      return;
    }
    if (e.key === " " || e.key === "Enter") {
      e.preventDefault();
      if (active.row < 0 || active.col < 0) onMenu(active, document.getElementById(`${id}-${active.row}-${active.col}`)?.getBoundingClientRect() ?? box.current!.getBoundingClientRect());
      else if (!readOnly) onToggle(selectedCells());
      return;
    }
    if (e.key === "Escape") return onSelect({ anchor: active, active });
    const page = Math.max(1, Math.floor((box.current!.clientHeight - headerHeight) / 44) - 1);
    const to = move(e.key, command, active, { rows: rows.rows, cols, page });
    if (!to) return;
    e.preventDefault();
    onSelect({ anchor: e.shiftKey ? selection.anchor : to, active: to });
    reveal(to);
  };

  const onPointerDown = (e: PointerEvent) => {
    const place = placeOf(e.target);
    if (!place || place.row < 0 || place.col < 0) return;
    if (e.pointerType === "mouse") dragging.current = place;
    onSelect({ anchor: e.shiftKey ? selection.anchor : place, active: place });
  };
  const onPointerOver = (e: PointerEvent) => {
    const from = dragging.current;
    if (!from || e.buttons !== 1) return;
    const place = placeOf(e.target);
    if (place && place.row >= 0 && place.col >= 0 && (place.row !== active.row || place.col !== active.col)) onSelect({ anchor: from, active: place });
  };
  const onClick = (e: MouseEvent) => {
    const place = placeOf(e.target);
    const from = dragging.current;
    dragging.current = undefined;
    if (!place) return;
    if (place.row < 0 || place.col < 0) {
      onSelect({ anchor: place, active: place });
      onMenu(place, (e.target as Element).closest("[data-row]")!.getBoundingClientRect());
      return;
    }
    const dragged = from !== undefined && (from.row !== place.row || from.col !== place.col);
    if (!e.shiftKey && !dragged && !readOnly) onToggle(cellsOf(model, rows.rows[place.row], place.col));
  };

  const range = useMemo(() => rectangle(selection.anchor, active), [selection.anchor, active]);
  const right = Math.min(seen.right, cols);
  const shown = rows.rows.slice(seen.top, seen.bottom + 1);

  return (
    <div
      ref={box} className={classes.grid} data-below={below || undefined} role="grid" tabIndex={0} aria-label="Which role opens which scope" aria-multiselectable aria-readonly={readOnly}
      aria-rowcount={rows.rows.length + 1} aria-colcount={cols + 1} aria-activedescendant={`${id}-${active.row}-${active.col}`}
      onKeyDown={onKeyDown} onPointerDown={onPointerDown} onPointerOver={onPointerOver} onClick={onClick} onScroll={look}
    >
      <div className={classes.inner} style={{ width: size.head + cols * size.cell, height: headerHeight + rows.tops.at(-1)! }} role="presentation">
        <GridHeader id={id} model={model} size={size} left={seen.left} right={right} height={headerHeight} active={active} />
        {shown.map((row, i) => (
          <GridRow key={row.key} id={id} model={model} row={row} at={seen.top + i} top={headerHeight + rows.tops[seen.top + i]!} size={size} left={seen.left} right={right} active={active} range={range} />
        ))}
      </div>
    </div>
  );
}

/** Widths of the row headers and of a cell; on a phone there must be room for two roles. */
function sizes(width: number) {
  return width < 560 ? { head: 168, cell: 84 } : { head: 330, cell: 108 };
}

function placeOf(target: EventTarget): Place | undefined {
  const el = (target as Element).closest<HTMLElement>("[data-row]");
  return el ? { row: Number(el.dataset.row), col: Number(el.dataset.col) } : undefined;
}
