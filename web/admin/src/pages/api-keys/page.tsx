import { Button, Group, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconKey, IconPlus } from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { keyColumns, type APIKey } from "~/ui/api-key";
import { ConfirmDialog } from "~/ui/confirm";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState } from "~/ui/states";
import { toast } from "~/ui/toast";
import { CreateKey } from "./create";

/** Keys with which scripts do what the console does. */
export function Page() {
  const may = useCan()("keys:write");
  const client = useQueryClient();
  const [creating, create] = useDisclosure();
  const [revoking, setRevoking] = useState<APIKey>();
  const pages = usePages<APIKey>(["api-keys"], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/api-keys", { params: { path: at(), query: { limit: 100, ...(cursor ? { cursor } : {}) } }, signal })));
  return (
    <>
      <PageHeader title="API keys" actions={may && <Button leftSection={<IconPlus size={15} aria-hidden />} onClick={create.open}>New key</Button>}>
        For scripts and pipelines. A key can do what it was given, never more than its maker could, and stands in the audit under its name.
      </PageHeader>
      <PagedTable
        pages={pages} label="API keys" one="key" rowKey="id"
        empty={<EmptyState icon={IconKey} title="No key yet" action={may && <Button onClick={create.open}>Make the first key</Button>}>Everything this console does, a script can do with a key: deploy servers from a pipeline, export the audit, invite people.</EmptyState>}
        columns={keyColumns({ onRevoke: may ? setRevoking : undefined, permissions: true })}
      />
      <CreateKey opened={creating} onClose={create.close} />
      <ConfirmDialog
        opened={revoking !== undefined} onClose={() => setRevoking(undefined)} title={`Revoke ${revoking?.name ?? ""}`} action="Revoke the key" danger
        onConfirm={async () => {
          await body(api.DELETE("/tenants/{tenant}/api-keys/{key}", { params: { path: at({ key: revoking!.id }) } }));
          toast.done(`${revoking!.name} is revoked.`);
          await client.invalidateQueries({ queryKey: ["api-keys"] });
        }}
      >
        The next call with {revoking?.hint} is refused, and so is every access token that was got with it. This cannot be taken back: whatever uses the key needs a new one.
      </ConfirmDialog>
      {!may && <Group mt="xs"><Text size="xs" c="dimmed">You see keys and cannot make or revoke them; that needs keys:write.</Text></Group>}
    </>
  );
}
