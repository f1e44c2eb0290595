import { Button, Checkbox, Group, Modal, Stack, Text, TextInput, Title } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { z } from "zod";
import { api, body, type Schemas } from "~/api/client";
import { showProblem, slugFrom, slugPattern, slugRule, zodValidate } from "~/lib/form";
import { SecretOnce } from "~/ui/copy";
import { ButtonLink } from "~/ui/link";
import { ErrorState } from "~/ui/states";
import { noQuotas, QuotaFields, quotaFields, quotasOf, type QuotaValues } from "./quotas";

const schema = z.object({
  name: z.string().trim().min(1, "Write its name").max(200, "At most 200 characters"),
  slug: z.string().regex(slugPattern, `A slug has ${slugRule}`),
  email: z.string().trim().refine((v) => v === "" || /^[^@\s]+@[^@\s]+$/.test(v), "Write an address, or leave it empty"),
});

export function CreateTenant({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  // A click beside it would lose a link that is shown this once.
  return <Modal opened={opened} onClose={onClose} title="New tenant" size="lg" closeOnClickOutside={false}><Create onClose={onClose} /></Modal>;
}

function Create({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const form = useForm({
    initialValues: { name: "", slug: "", email: "", adminName: "", send: true, quotas: noQuotas as QuotaValues },
    validate: (values) => zodValidate(schema)({ name: values.name, slug: values.slug, email: values.email }),
  });
  const save = useMutation({
    mutationFn: ({ name, slug, email, adminName, send, quotas }: typeof form.values) => body(api.POST("/tenants", {
      body: { name: name.trim(), slug, quotas: quotasOf(quotas), ...(email.trim() ? { admin: { email: email.trim(), send, ...(adminName.trim() ? { name: adminName.trim() } : {}) } } : {}) },
    })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["tenants"] }),
    onError: (error) => {
      showProblem(form, error, ["name", "slug", ...quotaFields.map((f) => `quotas.${f}`)]);
      const { fields } = pick(error);
      if (fields) form.setFieldError("email", fields);
    },
  });
  if (save.data) return <Created created={save.data} sent={form.values.send} onClose={onClose} />;
  const named = form.getInputProps("name");
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate>
      <Stack gap="md">
        <Group grow align="flex-start">
          <TextInput label="Name" data-autofocus autoComplete="off" {...named} onChange={(e) => {
            const before = form.values;
            form.setFieldValue("name", e.currentTarget.value);
            if (before.slug === "" || before.slug === slugFrom(before.name)) form.setFieldValue("slug", slugFrom(e.currentTarget.value));
          }} />
          <TextInput label="Slug" description="Stands in its addresses and stays as it is" autoComplete="off" spellCheck={false} inputWrapperOrder={["label", "input", "description", "error"]} {...form.getInputProps("slug")} />
        </Group>
        <section>
          <Title order={3} mb={8}>First administrator</Title>
          <Group grow align="flex-start">
            <TextInput label="Address" type="email" autoComplete="off" {...form.getInputProps("email")} />
            <TextInput label="Their name" autoComplete="off" {...form.getInputProps("adminName")} />
          </Group>
          <Checkbox mt="sm" label="Send the invitation by mail" description="Otherwise its link is shown to you, once" {...form.getInputProps("send", { type: "checkbox" })} />
        </section>
        <section>
          <Title order={3} mb={8}>Quotas</Title>
          <QuotaFields values={form.values.quotas} onChange={(v) => form.setFieldValue("quotas", v)} errors={form.errors} />
        </section>
        {save.isError && <ErrorState error={save.error} title="No tenant was made" />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" loading={save.isPending}>Make the tenant</Button>
        </Group>
      </Stack>
    </form>
  );
}

/** The administrator's address is nested in the request and a field of its own in the form. */
function pick(error: unknown): { fields?: string } {
  const found: { pointer?: string; detail?: string }[] = error && typeof error === "object" && "problem" in error ? ((error.problem as { errors?: { pointer?: string; detail?: string }[] }).errors ?? []) : [];
  return { fields: found.find((e) => e.pointer?.includes("/admin/email"))?.detail };
}

function Created({ created: { tenant, invitation }, sent, onClose }: { created: Schemas["TenantCreated"]; sent: boolean; onClose: () => void }) {
  return (
    <Stack gap="md">
      <Text size="sm">{tenant.name} is there, with a role <b>admin</b> that opens everything.</Text>
      {invitation && (
        <>
          <Text size="sm">{sent && !invitation.mail_error ? `${invitation.invitation.email} gets the link by mail.` : invitation.mail_error ? `The mail could not be sent: ${invitation.mail_error} The link is good all the same.` : `Hand this link to ${invitation.invitation.email}.`}</Text>
          <SecretOnce value={invitation.url} label="link">Whoever has it becomes {invitation.invitation.email}.</SecretOnce>
        </>
      )}
      <Group justify="flex-end" gap="xs">
        <Button variant="default" onClick={onClose}>Done</Button>
        <ButtonLink to="/tenants/$tenant" params={{ tenant: tenant.slug }}>Open {tenant.name}</ButtonLink>
      </Group>
    </Stack>
  );
}
