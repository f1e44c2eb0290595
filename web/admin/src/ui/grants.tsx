import { Badge, Button, Group, Text, TextInput, VisuallyHidden } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import type { DataTableColumn } from "mantine-datatable";
import { useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { capital } from "~/lib/words";
import { ConfirmDialog } from "./confirm";
import { TextLink } from "./link";
import { RelativeTime } from "./time";
import { toast } from "./toast";

export type Grant = Schemas["Grant"];

const colors: Record<Grant["status"], string> = { active: "green", expired: "gray", revoked: "gray" };
export const GrantMark = ({ status }: { status: Grant["status"] }) => <Badge color={colors[status]}>{status === "active" ? "In force" : capital(status)}</Badge>;
export const grantOptions = [{ value: "active", label: "In force" }, { value: "expired", label: "Expired" }, { value: "revoked", label: "Revoked" }];

/** What an app may do with a grant, and who said so. */
export function grantColumns({ person, onRevoke, audit }: { person: boolean; onRevoke?: (grant: Grant) => void; audit: boolean }): DataTableColumn<Grant>[] {
  const columns: DataTableColumn<Grant>[] = [
    {
      accessor: "client_name", title: "App", width: 180,
      render: (g) => (
        <>
          <TextLink to="/clients" search={{ client: g.client }} fw={520} size="sm">{g.client_name}</TextLink>
          {g.redirect_host && <Text size="xs" c="dimmed">answers go to {g.redirect_host}</Text>}
        </>
      ),
    },
    { accessor: "server", title: "May use", width: 190, render: (g) => <><Text size="sm">{g.server ?? "this console"}</Text>{g.server && <Text size="xs" c="dimmed" className="mono">{g.scopes.join("  ") || "nothing"}</Text>}</> },
    {
      accessor: "status", title: "Status", width: 130,
      render: (g) => (
        <>
          <GrantMark status={g.status} />
          {g.status === "revoked" && <Text size="xs" c="dimmed"><RelativeTime at={g.revoked_at} />{g.revoked_reason && `: ${g.revoked_reason}`}</Text>}
        </>
      ),
    },
    { accessor: "created_at", title: "Given", width: 100, render: (g) => <RelativeTime at={g.created_at} /> },
    { accessor: "used_at", title: "Last used", width: 120, render: (g) => <RelativeTime at={g.used_at} /> },
    {
      accessor: "actions", title: <VisuallyHidden>Actions</VisuallyHidden>, width: 140, textAlign: "right",
      render: (g) => (
        <Group gap={10} justify="flex-end" wrap="nowrap">
          {audit && <TextLink to="/audit" search={{ grant: g.id }} size="sm" aria-label={`Calls of ${g.client_name} for ${g.member}`}>Calls</TextLink>}
          {onRevoke && g.status === "active" && <Button size="compact-sm" variant="light" color="red" onClick={() => onRevoke(g)} aria-label={`Revoke what ${g.member} gave ${g.client_name}`}>Revoke</Button>}
        </Group>
      ),
    },
  ];
  if (person) columns.unshift({ accessor: "member", title: "Person", width: 170, render: (g) => <TextLink to="/people/$member" params={{ member: g.member }} size="sm">{g.member}</TextLink> });
  return columns;
}

/** Ends one grant. The reason stands in the audit. */
export function RevokeGrant({ grant, onClose }: { grant: Grant | undefined; onClose: () => void }) {
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const close = () => { setReason(""); onClose(); };
  return (
    <ConfirmDialog
      opened={grant !== undefined} onClose={close} title={`Revoke ${grant?.client_name ?? ""}`} action="Revoke" danger
      onConfirm={async () => {
        await body(api.DELETE("/tenants/{tenant}/grants/{grant}", { params: { path: at({ grant: grant!.id }), query: reason.trim() ? { reason: reason.trim() } : {} } }));
        toast.done(`${grant!.client_name} is cut off from what ${grant!.member} gave it.`);
        await client.invalidateQueries({ predicate: ({ queryKey }) => ["grants", "clients", "members"].includes(String(queryKey[0])) });
      }}
    >
      <Text size="sm">
        {grant?.client_name} can no longer use {grant?.server ?? "this console"} for {grant?.member}: its tokens are refused within a second, and it cannot refresh them. A call that is running now ends as it would have.
      </Text>
      <Text size="sm" mt={6}>The client will ask {grant?.member} to sign in and allow it again. To keep it out for good, take the role or disable the account.</Text>
      <TextInput mt="sm" label="Reason" description="Stands in the audit; may be left empty" maxLength={200} value={reason} onChange={(e) => setReason(e.currentTarget.value)} data-autofocus />
    </ConfirmDialog>
  );
}
