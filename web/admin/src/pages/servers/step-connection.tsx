import { Button, Group, Stack, Text } from "@mantine/core";
import type { UseFormReturnType } from "@mantine/form";
import { ConnectionFields } from "~/connection/fields";
import type { SQLConnection } from "~/connection/sql";

export function StepConnection({ form, onBack, onNext }: { form: UseFormReturnType<SQLConnection>; onBack: () => void; onNext: () => void }) {
  return (
    <form onSubmit={form.onSubmit(onNext)}>
      <Stack gap="md" maw={720}>
        <Text size="sm" c="dimmed">Vault logs in with this account when the server is saved, and makes a database user for minutes whenever a tool runs.</Text>
        <ConnectionFields form={form} />
        <Group justify="space-between"><Button variant="default" onClick={onBack}>Back</Button><Button type="submit">Next</Button></Group>
      </Stack>
    </form>
  );
}
