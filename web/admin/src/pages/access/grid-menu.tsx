import { Menu } from "@mantine/core";
import { IconChecks, IconEraser, IconPencil, IconServer2, IconTrash, IconUsers } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { count } from "~/lib/words";
import type { Place } from "./keys";
import type { Model } from "./model";
import { cellsOf, type Rows } from "./rows";

interface Props {
  model: Model;
  rows: Rows;
  at: { place: Place; from: DOMRect } | undefined;
  onClose: () => void;
  onEdit: (cells: number[], open: boolean) => void;
  onEditRole: (role: string) => void;
  onDeleteRole: (role: string) => void;
  readOnly: boolean;
}

/** What can be done with a whole row or column, and with the role at its head. */
export function GridMenu({ model, rows, at, onClose, ...props }: Props) {
  return (
    <Menu opened={at !== undefined} onChange={(open) => { if (!open) onClose(); }} position="bottom-start" shadow="md" width={270} withinPortal transitionProps={{ duration: 0 }} returnFocus={false}>
      <Menu.Target>
        <span aria-hidden style={{ position: "fixed", left: at?.from.left ?? 0, top: at?.from.top ?? 0, width: at?.from.width ?? 0, height: at?.from.height ?? 0, pointerEvents: "none" }} />
      </Menu.Target>
      {at && <Menu.Dropdown>{at.place.row < 0 ? <ColumnItems col={at.place.col} model={model} rows={rows} {...props} /> : <RowItems row={at.place.row} model={model} rows={rows} {...props} />}</Menu.Dropdown>}
    </Menu>
  );
}

type ItemProps = Omit<Props, "at" | "onClose">;

function ColumnItems({ col, model, rows, onEdit, onEditRole, onDeleteRole, readOnly }: ItemProps & { col: number }) {
  const role = model.roles[col];
  if (!role) return null;
  const cells = rows.rows.flatMap((row) => (row.kind === "scope" ? cellsOf(model, row, col) : []));
  return (
    <>
      <Menu.Label>{role.name}</Menu.Label>
      <Menu.Item leftSection={<IconPencil size={15} aria-hidden />} onClick={() => onEditRole(role.name)}>{readOnly ? "Show the role" : "Edit the role"}</Menu.Item>
      <Menu.Item leftSection={<IconUsers size={15} aria-hidden />} renderRoot={(p) => <Link to="/people" search={{ role: role.name }} {...p} />}>Who holds it</Menu.Item>
      {!readOnly && (
        <>
          <Menu.Divider />
          <Menu.Item leftSection={<IconChecks size={15} aria-hidden />} onClick={() => onEdit(cells, true)}>Open all {count(cells.length, "scope")} shown</Menu.Item>
          <Menu.Item leftSection={<IconEraser size={15} aria-hidden />} onClick={() => onEdit(cells, false)}>Close all {count(cells.length, "scope")} shown</Menu.Item>
          <Menu.Divider />
          <Menu.Item color="red" leftSection={<IconTrash size={15} aria-hidden />} onClick={() => onDeleteRole(role.name)}>Delete the role</Menu.Item>
        </>
      )}
    </>
  );
}

function RowItems({ row: at, model, rows, onEdit, readOnly }: ItemProps & { row: number }) {
  const row = rows.rows[at];
  if (!row || row.kind === "tool") return null;
  const scope = row.kind === "scope" ? model.scopes[row.scope]! : undefined;
  const server = scope?.server ?? (row.kind === "server" ? row.server : "");
  const cells = model.roles.flatMap((_, col) => cellsOf(model, row, col));
  return (
    <>
      <Menu.Label>{scope?.scope ?? server}</Menu.Label>
      <Menu.Item leftSection={<IconServer2 size={15} aria-hidden />} renderRoot={(p) => <Link to="/servers/$server" params={{ server }} {...p} />}>Show the server</Menu.Item>
      {!readOnly && (
        <>
          <Menu.Divider />
          <Menu.Item leftSection={<IconChecks size={15} aria-hidden />} onClick={() => onEdit(cells, true)}>Open for all {count(model.roles.length, "role")}</Menu.Item>
          <Menu.Item leftSection={<IconEraser size={15} aria-hidden />} onClick={() => onEdit(cells, false)}>Close for all {count(model.roles.length, "role")}</Menu.Item>
        </>
      )}
    </>
  );
}
