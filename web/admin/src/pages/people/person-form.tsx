import { Button, Group, Stack, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation } from "@tanstack/react-query";
import { z } from "zod";
import type { Tagged } from "~/api/client";
import { isStale } from "~/api/problem";
import { showProblem, zodValidate } from "~/lib/form";
import { RoleSelect } from "~/ui/role-select";
import { StaleAlert } from "~/ui/stale";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";
import { putMember, useRefreshPeople, type Member } from "./api";

const schema = z.object({ name: z.string().trim().min(1, "Write their name").max(200, "At most 200 characters"), roles: z.array(z.string()) });

/** Name and roles of a person, saved with the tag they were read with. */
export function PersonForm({ read, editable, onReload }: { read: Tagged<Member>; editable: boolean; onReload: () => void }) {
  const refresh = useRefreshPeople();
  const m = read.data;
  const form = useForm({ initialValues: { name: m.name, roles: m.roles }, validate: zodValidate(schema) });
  const save = useMutation({
    mutationFn: ({ name, roles }: typeof form.values) => putMember(m.email, { name: name.trim(), roles, disabled: m.disabled }, read.etag),
    onSuccess: async () => {
      toast.done(`${m.email} is saved. Roles hold from the next call on.`);
      await refresh();
    },
    onError: (error) => showProblem(form, error, ["name", "roles"]),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))}>
      <Stack gap="sm" maw={620}>
        <TextInput label="Name" readOnly={!editable} autoComplete="off" {...form.getInputProps("name")} />
        <RoleSelect label="Roles" readOnly={!editable} placeholder={form.values.roles.length === 0 ? "No role: nothing is open to them" : undefined} {...form.getInputProps("roles")} />
        {isStale(save.error) ? <StaleAlert what={m.email} onReload={onReload} /> : save.isError && <ErrorState error={save.error} />}
        {editable && (
          <Group gap="xs">
            <Button type="submit" loading={save.isPending} disabled={!form.isDirty()}>Save</Button>
            {form.isDirty() && <Button variant="default" onClick={form.reset}>Discard</Button>}
          </Group>
        )}
      </Stack>
    </form>
  );
}
