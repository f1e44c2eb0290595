import { Button, Group, Stack, Text } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, at, tagged, type Schemas, type Tagged } from "~/api/client";
import { isStale } from "~/api/problem";
import { StaleAlert } from "~/ui/stale";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";
import type { Field } from "./declared";
import { DeclaredFields } from "./declared-fields";
import type { Declared } from "./sql";
import { useDeclared } from "./use-declared";

interface Props {
  fields: readonly Field[];
  server: string;
  read: Tagged<Schemas["Connection"]>;
  onDone: () => void;
  onReload: () => void;
}

/** Changes a connection of a kind whose form is a table of fields. */
export function DeclaredEdit({ fields, server, read, onDone, onReload }: Props) {
  const client = useQueryClient();
  const set = read.data.secrets_set;
  const form = useDeclared({ fields, declared: read.data.connection as Declared | undefined, set });
  const save = useMutation({
    mutationFn: () => tagged(api.PUT("/tenants/{tenant}/servers/{server}/connection", {
      params: { path: at({ server }), header: { "If-Match": read.etag } }, body: { connection: form.declared() },
    })),
    onSuccess: async () => {
      toast.done("It is in use from the next call on.");
      onDone();
      await client.invalidateQueries();
    },
    onError: form.show,
  });
  return (
    <form noValidate onSubmit={(e) => { e.preventDefault(); if (form.validate()) save.mutate(); }}>
      <Stack gap="md" maw={720}>
        <DeclaredFields fields={form.fields} values={form.values} errors={form.errors} set={set} onChange={form.change} />
        {isStale(save.error) ? <StaleAlert what="The connection" onReload={onReload} /> : save.isError && <ErrorState error={save.error} title="The connection stays as it was" />}
        <Group justify="space-between">
          <Text size="sm" c="dimmed">{form.dirty ? "Where something else changes, secrets are needed again." : "Nothing is changed yet."}</Text>
          <Group gap="xs"><Button variant="default" onClick={onDone}>Cancel</Button><Button type="submit" disabled={!form.dirty} loading={save.isPending}>Save</Button></Group>
        </Group>
      </Stack>
    </form>
  );
}
