import { Button, CloseButton, Group, Text } from "@mantine/core";
import { count } from "~/lib/words";
import type { Selection } from "./grid";
import { rectangle } from "./keys";
import type { Model } from "./model";
import classes from "./pending.module.css";
import { cellsOf, type Rows } from "./rows";

interface Props {
  model: Model;
  rows: Rows;
  selection: Selection;
  onEdit: (cells: number[], open: boolean) => void;
  onClear: () => void;
}

/** What to do with several selected cells; for one there is nothing to choose. */
export function SelectionBar({ model, rows, selection, onEdit, onClear }: Props) {
  const { top, bottom, left, right } = rectangle(selection.anchor, selection.active);
  if (top === bottom && left === right) return null;
  const cells: number[] = [];
  for (let row = top; row <= bottom; row++) {
    if (rows.rows[row]?.kind !== "scope") continue;
    for (let col = left; col <= right; col++) cells.push(...cellsOf(model, rows.rows[row], col));
  }
  if (cells.length < 2) return null;
  return (
    <Group gap="xs" className={classes.selection} role="toolbar" aria-label="Selection">
      <Text size="sm" className="num">{count(cells.length, "cell")} selected</Text>
      <Button variant="default" onClick={() => onEdit(cells, true)}>Open</Button>
      <Button variant="default" onClick={() => onEdit(cells, false)}>Close</Button>
      <CloseButton size="sm" aria-label="Clear the selection" onClick={onClear} />
    </Group>
  );
}
