import { Badge, Button, Stack, Switch, Table, Text, TextInput, Modal, Group, VisuallyHidden } from "@mantine/core";
import { useForm } from "@mantine/form";
import { IconPlus, IconShieldCog } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { z } from "zod";
import { api, body, type Schemas } from "~/api/client";
import { useMe } from "~/api/me";
import { showProblem, zodValidate } from "~/lib/form";
import { CodeView } from "~/ui/code";
import { ConfirmDialog } from "~/ui/confirm";
import { PageHeader } from "~/ui/page-header";
import { Section } from "~/ui/section";
import { EmptyState, ErrorState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { OperatorKeys } from "./keys";

type Operator = Schemas["Operator"];
const none = { email: "", name: "", disabled: false } as const;

/** Who runs the platform, and their scripts. */
export function Page() {
  const [editing, setEditing] = useState<Pick<Operator, "email" | "name" | "disabled">>();
  const query = useQuery({ queryKey: ["operators"], queryFn: async ({ signal }) => (await body(api.GET("/operators", { signal }))).data });
  return (
    <>
      <PageHeader title="Operators" actions={<Button leftSection={<IconPlus size={15} aria-hidden />} onClick={() => setEditing(none)}>New operator</Button>}>
        Operators run the platform and can change everything in every tenant, except try tools. What they do to a tenant stands in that tenant's audit.
      </PageHeader>
      <Stack gap="md">
        <Section title="People">
          <Loaded query={query} rows={4}>
            {(operators) => operators.length === 0 ? <EmptyState compact icon={IconShieldCog} title="No operator">The command line makes the first: platform operators password.</EmptyState> : <Operators operators={operators} onEdit={setEditing} />}
          </Loaded>
        </Section>
        <OperatorKeys />
      </Stack>
      <Modal opened={editing !== undefined} onClose={() => setEditing(undefined)} title={editing?.email || "New operator"}>{editing && <OperatorForm operator={editing} onClose={() => setEditing(undefined)} />}</Modal>
    </>
  );
}

function Operators({ operators, onEdit }: { operators: Operator[]; onEdit: (operator: Operator) => void }) {
  const client = useQueryClient();
  const me = useMe();
  const [removing, setRemoving] = useState<Operator>();
  const waiting = operators.filter((o) => !o.has_password && !o.disabled);
  return (
    <Stack gap="sm">
      <Table.ScrollContainer minWidth={560} type="native" tabIndex={0} role="region" aria-label="Operators">
        <Table aria-label="Operators">
          <Table.Thead><Table.Tr><Table.Th scope="col">Operator</Table.Th><Table.Th scope="col">State</Table.Th><Table.Th scope="col">Last seen</Table.Th><Table.Th scope="col"><VisuallyHidden>Actions</VisuallyHidden></Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {operators.map((o) => (
              <Table.Tr key={o.email}>
                <Table.Th scope="row" fw={520}>{o.name}{me.email === o.email && <Badge ml={6}>you</Badge>}<Text size="xs" c="dimmed">{o.email}</Text></Table.Th>
                <Table.Td>{o.disabled ? <Badge color="red">Disabled</Badge> : o.has_password ? <Badge color="green">Active</Badge> : <Badge color="amber">No password yet</Badge>}</Table.Td>
                <Table.Td><RelativeTime at={o.last_seen_at} /></Table.Td>
                <Table.Td>
                  <Group gap={6} justify="flex-end" wrap="nowrap">
                    <Button size="compact-sm" variant="default" onClick={() => onEdit(o)} aria-label={`Edit ${o.email}`}>Edit</Button>
                    <Button size="compact-sm" variant="light" color="red" onClick={() => setRemoving(o)} aria-label={`Remove ${o.email}`}>Remove</Button>
                  </Group>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
      {waiting.length > 0 && <div><Text size="sm" mb={6}>The first password of an operator comes from the command line, on a machine that reaches the database:</Text><CodeView value={`platform operators password ${waiting[0]!.email}`} label="Set the first password" /></div>}
      <ConfirmDialog
        opened={removing !== undefined} onClose={() => setRemoving(undefined)} title={`Remove ${removing?.email ?? ""}`} action="Remove" danger
        onConfirm={async () => {
          await body(api.DELETE("/operators/{operator}", { params: { path: { operator: removing!.email } } }));
          toast.done(`${removing!.email} is no operator any more.`);
          await client.invalidateQueries({ queryKey: ["operators"] });
        }}
      >
        They are signed out at once and cannot sign in here any more. Keys that they made go on; revoke those below. The last operator stays.{removing?.email === me.email && " This is your own account."}
      </ConfirmDialog>
    </Stack>
  );
}

const schema = z.object({
  email: z.string().trim().regex(/^[^@\s]+@[^@\s]+$/, "Write an address"),
  name: z.string().trim().min(1, "Write their name").max(200, "At most 200 characters"),
  disabled: z.boolean(),
});

function OperatorForm({ operator, onClose }: { operator: Pick<Operator, "email" | "name" | "disabled">; onClose: () => void }) {
  const client = useQueryClient();
  const isNew = operator.email === "";
  const form = useForm({ initialValues: { email: operator.email, name: operator.name, disabled: operator.disabled }, validate: zodValidate(schema) });
  const save = useMutation({
    mutationFn: ({ email, name, disabled }: typeof form.values) => body(api.PUT("/operators/{operator}", { params: { path: { operator: email.trim().toLowerCase() } }, body: { name: name.trim(), disabled } })),
    onSuccess: async (o) => {
      toast.done(isNew ? `${o.email} is an operator. Set their first password with the command line.` : `${o.email} is saved.`);
      onClose();
      await client.invalidateQueries({ queryKey: ["operators"] });
    },
    onError: (error) => showProblem(form, error, ["name", "disabled"]),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack gap="md">
        {isNew && <TextInput label="Address" type="email" data-autofocus autoComplete="off" {...form.getInputProps("email")} />}
        <TextInput label="Name" autoComplete="off" {...form.getInputProps("name")} />
        {!isNew && <Switch label="Disabled" description="Signed out at once, and cannot sign in" {...form.getInputProps("disabled", { type: "checkbox" })} />}
        {save.isError && <ErrorState error={save.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" loading={save.isPending}>{isNew ? "Make an operator" : "Save"}</Button>
        </Group>
      </Stack>
    </form>
  );
}
