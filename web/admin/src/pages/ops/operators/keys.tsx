import { Alert, Button, Group, Modal, Select, Stack, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useDisclosure } from "@mantine/hooks";
import { IconKey, IconPlus, IconShieldExclamation } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { z } from "zod";
import { api, body } from "~/api/client";
import { showProblem, zodValidate } from "~/lib/form";
import { keyColumns, type APIKey } from "~/ui/api-key";
import { ConfirmDialog } from "~/ui/confirm";
import { expiries } from "~/ui/expiry";
import { KeyCreated } from "~/ui/key-created";
import { PagedTable, usePages } from "~/ui/paged-table";
import { Section } from "~/ui/section";
import { EmptyState, ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";

/** Keys with which scripts do what an operator can. */
export function OperatorKeys() {
  const client = useQueryClient();
  const [creating, create] = useDisclosure();
  const [revoking, setRevoking] = useState<APIKey>();
  const pages = usePages<APIKey>(["operator-keys"], (_cursor, signal) => body(api.GET("/operator-keys", { signal })));
  return (
    <Section title="Keys" says="For scripts that provision tenants." actions={<Button variant="default" leftSection={<IconPlus size={15} aria-hidden />} onClick={create.open}>New key</Button>}>
      <PagedTable pages={pages} label="Operators' keys" one="key" rowKey="id" columns={keyColumns({ onRevoke: setRevoking })} empty={<EmptyState compact icon={IconKey} title="No key yet">Make one for the script that needs it, and give it a short life.</EmptyState>} />
      <Modal opened={creating} onClose={create.close} title="New operator's key" size="lg" closeOnClickOutside={false}><Create onClose={create.close} /></Modal>
      <ConfirmDialog
        opened={revoking !== undefined} onClose={() => setRevoking(undefined)} title={`Revoke ${revoking?.name ?? ""}`} action="Revoke the key" danger
        onConfirm={async () => {
          await body(api.DELETE("/operator-keys/{key}", { params: { path: { key: revoking!.id } } }));
          toast.done(`${revoking!.name} is revoked.`);
          await client.invalidateQueries({ queryKey: ["operator-keys"] });
        }}
      >
        The next call with {revoking?.hint} is refused, and so is every access token that was got with it. This cannot be taken back.
      </ConfirmDialog>
    </Section>
  );
}

const schema = z.object({ name: z.string().trim().min(1, "Name what it is for").max(100, "At most 100 characters"), days: z.string() });

function Create({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const form = useForm({ initialValues: { name: "", days: "30" }, validate: zodValidate(schema) });
  const save = useMutation({
    mutationFn: ({ name, days }: typeof form.values) => body(api.POST("/operator-keys", { body: { name: name.trim(), expires_in_days: Number(days) } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["operator-keys"] }),
    onError: (error) => showProblem(form, error, ["name"]),
  });
  if (save.data) return <KeyCreated created={save.data} onClose={onClose} />;
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack gap="md">
        <Alert color="amber" icon={<IconShieldExclamation aria-hidden />}>Whoever has this key can change every tenant. For one tenant's scripts, make a key in that tenant instead.</Alert>
        <TextInput label="Name" description="Stands in the audit for whatever it does" data-autofocus autoComplete="off" {...form.getInputProps("name")} />
        <Select label="Expires after" w={180} allowDeselect={false} data={expiries} {...form.getInputProps("days")} />
        {save.isError && <ErrorState error={save.error} title="No key was made" />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" loading={save.isPending}>Make the key</Button>
        </Group>
      </Stack>
    </form>
  );
}
