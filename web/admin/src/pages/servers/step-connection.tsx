import { Button, Group, Stack, Text } from "@mantine/core";
import type { UseFormReturnType } from "@mantine/form";
import { DeclaredFields } from "~/connection/declared-fields";
import { ConnectionFields } from "~/connection/fields";
import type { SQLConnection } from "~/connection/sql";
import type { DeclaredForm } from "~/connection/use-declared";

interface Nav {
  onBack: () => void;
  onNext: () => void;
}

export function StepConnection({ form, onBack, onNext }: Nav & { form: UseFormReturnType<SQLConnection> }) {
  return (
    <form noValidate onSubmit={form.onSubmit(onNext)}>
      <Stack gap="md" maw={720}>
        <Text size="sm" c="dimmed">Vault logs in with this account when the server is saved, and makes a database user for minutes whenever a tool runs.</Text>
        <ConnectionFields form={form} />
        <Group justify="space-between"><Button variant="default" onClick={onBack}>Back</Button><Button type="submit">Next</Button></Group>
      </Stack>
    </form>
  );
}

const says: Record<string, string> = {
  http: "Secrets go to Vault. A worker has them for minutes while it calls the API; no model and no client ever sees them.",
  remote: "What authenticates goes to Vault, and from there to this server and to no other. A caller's own token never goes there.",
  stdio: "The program runs in a sandbox: it has no network but what you list here, and no secrets but these.",
};

export function StepDeclared({ kind, form, onBack, onNext }: Nav & { kind: string; form: DeclaredForm }) {
  return (
    <form noValidate onSubmit={(e) => { e.preventDefault(); if (form.validate()) onNext(); }}>
      <Stack gap="md" maw={720}>
        <Text size="sm" c="dimmed">{says[kind]}</Text>
        <DeclaredFields fields={form.fields} values={form.values} errors={form.errors} onChange={form.change} />
        <Group justify="space-between"><Button variant="default" onClick={onBack}>Back</Button><Button type="submit">Next</Button></Group>
      </Stack>
    </form>
  );
}
