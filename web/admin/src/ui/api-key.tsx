import { Badge, Button, Text, Tooltip, VisuallyHidden } from "@mantine/core";
import type { DataTableColumn } from "mantine-datatable";
import type { Schemas } from "~/api/client";
import { permissionWords } from "~/lib/permissions";
import { RelativeTime } from "./time";

export type APIKey = Schemas["APIKey"];

export type KeyState = "active" | "expiring" | "expired" | "revoked";
const week = 7 * 86_400_000;

export function keyState(key: Pick<APIKey, "expires_at" | "revoked_at">, now = Date.now()): KeyState {
  if (key.revoked_at) return "revoked";
  if (!key.expires_at) return "active";
  const left = new Date(key.expires_at).getTime() - now;
  return left <= 0 ? "expired" : left < week ? "expiring" : "active";
}

const states: Record<KeyState, { label: string; color: string; says: string }> = {
  active: { label: "Good", color: "green", says: "It works." },
  expiring: { label: "Expires soon", color: "amber", says: "It works for less than a week. Make a new one and put it in its place." },
  expired: { label: "Expired", color: "gray", says: "Its calls are refused." },
  revoked: { label: "Revoked", color: "gray", says: "Its calls are refused." },
};

export function KeyMark({ apiKey }: { apiKey: APIKey }) {
  const { label, color, says } = states[keyState(apiKey)];
  return <Tooltip label={says}><Badge color={color} tabIndex={0}>{label}</Badge></Tooltip>;
}

/** A list of keys, a tenant's or the operators'. */
export function keyColumns({ onRevoke, permissions }: { onRevoke?: (key: APIKey) => void; permissions?: boolean }): DataTableColumn<APIKey>[] {
  const columns: DataTableColumn<APIKey>[] = [
    { accessor: "name", title: "Key", width: 200, render: (k) => <><Text size="sm" fw={520}>{k.name}</Text><Text size="xs" c="dimmed" className="mono">{k.hint}</Text></> },
    { accessor: "state", title: "State", width: 120, render: (k) => <KeyMark apiKey={k} /> },
    { accessor: "expires_at", title: "Expires", width: 120, render: (k) => (k.revoked_at ? <RelativeTime at={k.revoked_at} /> : <RelativeTime at={k.expires_at} />) },
    { accessor: "last_used_at", title: "Last used", width: 130, render: (k) => <RelativeTime at={k.last_used_at} /> },
    { accessor: "created_at", title: "Made", width: 170, render: (k) => <><RelativeTime at={k.created_at} /><Text size="xs" c="dimmed">by {k.created_by}</Text></> },
    {
      accessor: "actions", title: <VisuallyHidden>Actions</VisuallyHidden>, width: 90, textAlign: "right",
      render: (k) => onRevoke && !k.revoked_at && keyState(k) !== "expired" && <Button size="compact-sm" variant="light" color="red" aria-label={`Revoke the key ${k.name}`} onClick={() => onRevoke(k)}>Revoke</Button>,
    },
  ];
  if (permissions) columns.splice(1, 0, { accessor: "permissions", title: "May", width: 250, render: (k) => <Text size="sm">{permissionWords(k.permissions)}</Text> });
  return columns;
}
