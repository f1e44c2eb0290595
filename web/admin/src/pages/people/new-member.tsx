import { Button, Group, Modal, Stack, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { z } from "zod";
import { api, at } from "~/api/client";
import { isMissing, ProblemError } from "~/api/problem";
import { showProblem, zodValidate } from "~/lib/form";
import { RoleSelect } from "~/ui/role-select";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";
import { putMember, useRefreshPeople } from "./api";

const schema = z.object({
  email: z.string().trim().regex(/^[^@\s]+@[^@\s]+$/, "Write an address, such as sam@example.com"),
  name: z.string().trim().min(1, "Write their name").max(200, "At most 200 characters"),
  roles: z.array(z.string()),
});

/** For people who come in by single sign-on, or are invited later. */
export function NewMember({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  return <Modal opened={opened} onClose={onClose} title="New member"><NewMemberForm onClose={onClose} /></Modal>;
}

function NewMemberForm({ onClose }: { onClose: () => void }) {
  const refresh = useRefreshPeople();
  const go = useNavigate();
  const form = useForm({ initialValues: { email: "", name: "", roles: [] as string[] }, validate: zodValidate(schema) });
  const save = useMutation({
    mutationFn: async ({ email, name, roles }: typeof form.values) => {
      const address = email.trim().toLowerCase();
      // The write is one of creation or replacement; this must not replace somebody.
      const there = await api.GET("/tenants/{tenant}/members/{member}", { params: { path: at({ member: address }) } }).catch((error) => { if (isMissing(error)) return undefined; throw error; });
      if (there) throw new ProblemError(409, { code: "conflict", title: "They are a member already", detail: `${address} is a member. Open their page to change them.` });
      return putMember(address, { name: name.trim(), roles, disabled: false }, undefined);
    },
    onSuccess: async ({ data }) => {
      toast.done(`${data.email} is a member. They have no password yet: invite them, so that they can sign in.`);
      onClose();
      await refresh();
      await go({ to: "/people/$member", params: { member: data.email } });
    },
    onError: (error) => showProblem(form, error, ["name", "roles"]),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack gap="md">
        <Text size="sm" c="dimmed">A member has no password until they follow an invitation. To add somebody who should sign in now, invite them instead.</Text>
        <TextInput label="Address" type="email" data-autofocus autoComplete="off" {...form.getInputProps("email")} />
        <TextInput label="Name" autoComplete="off" {...form.getInputProps("name")} />
        <RoleSelect label="Roles" description="What they may call follows from these" {...form.getInputProps("roles")} />
        {save.isError && <ErrorState error={save.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" loading={save.isPending}>Create the member</Button>
        </Group>
      </Stack>
    </form>
  );
}
