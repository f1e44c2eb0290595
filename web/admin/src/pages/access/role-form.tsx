import { Button, Drawer, Group, Stack, Text, Textarea, TextInput, Title } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { z } from "zod";
import { api, at, tagged, type Tagged } from "~/api/client";
import { useMe } from "~/api/me";
import { isStale } from "~/api/problem";
import { showProblem, slugPattern, slugRule, zodValidate } from "~/lib/form";
import type { Permission } from "~/lib/permissions";
import { count } from "~/lib/words";
import { PermissionPicker } from "~/ui/permission-picker";
import { StaleAlert } from "~/ui/stale";
import { ErrorState, Loaded } from "~/ui/states";
import { toast } from "~/ui/toast";
import type { Schemas } from "~/api/client";

type Role = Schemas["Role"];

interface Props {
  /** The role to edit, "" for a new one, undefined for none. */
  role: string | undefined;
  taken: readonly string[];
  readOnly: boolean;
  onClose: () => void;
}

/** A role's words and what it may do on the platform. What it opens on servers is the matrix's. */
export function RoleDrawer({ role, taken, readOnly, onClose }: Props) {
  return (
    <Drawer opened={role !== undefined} onClose={onClose} title={role ? role : "New role"}>
      {role === "" && <RoleForm taken={taken} readOnly={false} onClose={onClose} />}
      {role && <ExistingRole key={role} role={role} taken={taken} readOnly={readOnly} onClose={onClose} />}
    </Drawer>
  );
}

function ExistingRole(props: Props & { role: string }) {
  const query = useQuery({
    queryKey: ["role", props.role],
    queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}/roles/{role}", { params: { path: at({ role: props.role }) }, signal })),
    gcTime: 0,
    refetchOnWindowFocus: false,
  });
  return <Loaded query={query}>{(read) => <RoleForm key={read.etag} read={read} {...props} onReload={() => void query.refetch()} />}</Loaded>;
}

const schema = z.object({
  name: z.string().regex(slugPattern, `A role's name has ${slugRule}`),
  description: z.string().max(1000, "At most 1,000 characters"),
});

interface FormProps {
  read?: Tagged<Role>;
  taken: readonly string[];
  readOnly: boolean;
  onClose: () => void;
  onReload?: () => void;
}

function RoleForm({ read, taken, readOnly, onClose, onReload }: FormProps) {
  const client = useQueryClient();
  const me = useMe();
  const form = useForm({
    initialValues: { name: read?.data.name ?? "", description: read?.data.description ?? "", permissions: (read?.data.permissions ?? []) as Permission[] },
    validate: (values) => ({
      ...zodValidate(schema)(values),
      ...(!read && taken.includes(values.name) ? { name: "There is a role of this name" } : {}),
    }),
  });
  const save = useMutation({
    mutationFn: ({ name, description, permissions }: typeof form.values) =>
      tagged(api.PUT("/tenants/{tenant}/roles/{role}", {
        params: { path: at({ role: name }), header: read ? { "If-Match": read.etag } : {} },
        body: { description, permissions, scopes: read?.data.scopes ?? [] },
      })),
    onSuccess: async ({ data }) => {
      toast.done(read ? `${data.name} is saved.` : `${data.name} is there. Open scopes for it in the matrix, then give it to people.`);
      onClose();
      await client.invalidateQueries();
    },
    onError: (error) => showProblem(form, error, ["description", "permissions"]),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))}>
      <Stack gap="md">
        {!read && <TextInput label="Name" description="Stays as it is; people and files refer to it" required withAsterisk={false} data-autofocus autoComplete="off" {...form.getInputProps("name")} />}
        <Textarea label="Description" description="Who it is for" autosize minRows={2} readOnly={readOnly} {...form.getInputProps("description")} />
        {read && <Text size="sm" c="dimmed">Held by {count(read.data.members, "person", "people")}; opens {count(read.data.scopes.length, "scope")} on servers.</Text>}
        <section>
          <Title order={3} mb={8}>What it may do here</Title>
          <PermissionPicker value={form.values.permissions} onChange={(v) => form.setFieldValue("permissions", v)} holds={me.kind === "operator" ? ["admin"] : me.permissions} readOnly={readOnly} />
          {form.errors.permissions && <Text size="sm" c="var(--mantine-color-error)" mt={4}>{form.errors.permissions}</Text>}
        </section>
        {isStale(save.error) ? <StaleAlert what={`The role ${read?.data.name}`} onReload={() => onReload?.()} /> : save.isError && <ErrorState error={save.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>{readOnly ? "Close" : "Cancel"}</Button>
          {!readOnly && <Button type="submit" loading={save.isPending}>{read ? "Save the role" : "Create the role"}</Button>}
        </Group>
      </Stack>
    </form>
  );
}
