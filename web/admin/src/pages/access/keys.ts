import type { Row } from "./rows";

/** A place in the grid; row and column -1 are the headers. */
export interface Place {
  row: number;
  col: number;
}

interface Grid {
  rows: readonly Row[];
  cols: number;
  /** How many rows a page is. */
  page: number;
}

/** Where a key leads from a place, or undefined when it is not a key for moving. */
export function move(key: string, ctrl: boolean, from: Place, grid: Grid): Place | undefined {
  const last = lastRow(grid.rows);
  const { row, col } = from;
  switch (key) {
    case "ArrowUp": return { row: ctrl ? 0 : step(grid.rows, row, -1), col };
    case "ArrowDown": return { row: ctrl ? last : step(grid.rows, row, 1), col };
    case "ArrowLeft": return { row, col: ctrl ? 0 : Math.max(row < 0 ? 0 : -1, col - 1) };
    case "ArrowRight": return { row, col: ctrl ? grid.cols - 1 : Math.min(grid.cols - 1, col + 1) };
    case "Home": return ctrl ? { row: 0, col: 0 } : { row, col: 0 };
    case "End": return ctrl ? { row: last, col: grid.cols - 1 } : { row, col: grid.cols - 1 };
    case "PageUp": return { row: snap(grid.rows, Math.max(0, row - grid.page), -1), col };
    case "PageDown": return { row: snap(grid.rows, Math.min(last, row + grid.page), 1), col };
    default: return undefined;
  }
}

/** The next row that has cells of its own; tools follow their scope and are passed over. */
function step(rows: readonly Row[], from: number, by: 1 | -1): number {
  for (let row = from + by; row < rows.length; row += by) {
    if (row < 0) return -1;
    if (rows[row]!.kind !== "tool") return row;
  }
  return from;
}

function snap(rows: readonly Row[], row: number, by: 1 | -1): number {
  return rows[row]?.kind === "tool" ? step(rows, row, by) : row;
}

function lastRow(rows: readonly Row[]): number {
  return rows.findLastIndex((row) => row.kind !== "tool");
}

/** The rectangle between two places, without headers. */
export function rectangle(a: Place, b: Place): { top: number; bottom: number; left: number; right: number } {
  return {
    top: Math.max(0, Math.min(a.row, b.row)), bottom: Math.max(0, a.row, b.row),
    left: Math.max(0, Math.min(a.col, b.col)), right: Math.max(0, a.col, b.col),
  };
}
