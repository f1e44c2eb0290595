import { Button, Group, Stack, Text } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, tagged, type Schemas, type Tagged } from "~/api/client";
import { isStale } from "~/api/problem";
import { StaleAlert } from "~/ui/stale";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";
import { ConnectionFields } from "./fields";
import { showConnectionProblem } from "./problem";
import { differs, fromDeclared, problemsOf, toDeclared, type SQLConnection } from "./sql";

interface Props {
  server: string;
  /** The connection as it was read; without it, the first one is set up. */
  read?: Tagged<Schemas["Connection"]>;
  onDone: () => void;
  onReload: () => void;
}

/** Changes a connection. Vault tries it before anything is replaced; its password goes in and never comes out. */
export function ConnectionEdit({ server, read, onDone, onReload }: Props) {
  const client = useQueryClient();
  const declared = read?.data.connection;
  const [before] = useState(() => fromDeclared(declared));
  const kept = read?.data.secrets_set.includes("admin.password") ? before : undefined;
  const form = useForm<SQLConnection>({ initialValues: before, validate: (values) => problemsOf(values, kept) });
  const nothing = kept !== undefined && form.values.password === "" && !differs(form.values, kept);
  const save = useMutation({
    mutationFn: (values: SQLConnection) => tagged(api.PUT("/tenants/{tenant}/servers/{server}/connection", {
      params: { path: at({ server }), header: read ? { "If-Match": read.etag } : {} }, body: { connection: toDeclared(values, declared) },
    })),
    onSuccess: async () => {
      toast.done("Vault logged in; the connection is in use from the next call on.");
      onDone();
      await client.invalidateQueries();
    },
    onError: (error) => showConnectionProblem(form, error),
  });
  return (
    <form noValidate onSubmit={form.onSubmit((values) => save.mutate(values))}>
      <Stack gap="md" maw={720}>
        <ConnectionFields form={form} kept={kept} />
        {isStale(save.error) ? <StaleAlert what="The connection" onReload={onReload} /> : save.isError && <ErrorState error={save.error} title="The connection stays as it was" />}
        <Group justify="space-between">
          <Text size="sm" c="dimmed">{nothing ? "Nothing is changed yet." : "Vault logs in before anything is replaced."}</Text>
          <Group gap="xs"><Button variant="default" onClick={onDone}>Cancel</Button><Button type="submit" disabled={nothing} loading={save.isPending}>Try and save</Button></Group>
        </Group>
      </Stack>
    </form>
  );
}
