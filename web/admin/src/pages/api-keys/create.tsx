import { Button, Group, Modal, Select, Stack, Text, TextInput, Title } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { z } from "zod";
import { api, at, body } from "~/api/client";
import { useMe } from "~/api/me";
import { showProblem, zodValidate } from "~/lib/form";
import type { Permission } from "~/lib/permissions";
import { KeyCreated } from "~/ui/key-created";
import { PermissionPicker } from "~/ui/permission-picker";
import { ErrorState } from "~/ui/states";
import { expiries } from "~/ui/expiry";

const schema = z.object({
  name: z.string().trim().min(1, "Name what it is for, such as “deploy from CI”").max(100, "At most 100 characters"),
  permissions: z.array(z.string()).min(1, "Choose at least one thing it may do"),
  days: z.string(),
});

export function CreateKey({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  // Only its buttons close it: a click beside it would lose a key that is shown this once.
  return <Modal opened={opened} onClose={onClose} title="New API key" size="lg" closeOnClickOutside={false}><Create onClose={onClose} /></Modal>;
}

function Create({ onClose }: { onClose: () => void }) {
  const me = useMe();
  const client = useQueryClient();
  const form = useForm({ initialValues: { name: "", permissions: [] as Permission[], days: "90" }, validate: zodValidate(schema) });
  const save = useMutation({
    mutationFn: ({ name, permissions, days }: typeof form.values) => body(api.POST("/tenants/{tenant}/api-keys", { params: { path: at() }, body: { name: name.trim(), permissions, expires_in_days: Number(days) } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["api-keys"] }),
    onError: (error) => showProblem(form, error, ["name", "permissions"]),
  });
  if (save.data) return <KeyCreated created={save.data} onClose={onClose} />;
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack gap="md">
        <TextInput label="Name" description="Stands in the audit for whatever it does" data-autofocus autoComplete="off" {...form.getInputProps("name")} />
        <section>
          <Title order={3} mb={8}>What it may do</Title>
          <PermissionPicker value={form.values.permissions} onChange={(v) => form.setFieldValue("permissions", v)} holds={me.kind === "operator" ? ["admin"] : me.permissions} />
          {form.errors.permissions && <Text size="sm" c="var(--mantine-color-error)" mt={4} role="alert">{form.errors.permissions}</Text>}
        </section>
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
