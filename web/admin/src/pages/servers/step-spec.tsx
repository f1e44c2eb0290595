import { Button, Grid, Group, Stack, Text } from "@mantine/core";
import type { UseFormReturnType } from "@mantine/form";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, at, body } from "~/api/client";
import { showConnectionProblem } from "~/connection/problem";
import { toDeclared, type SQLConnection } from "~/connection/sql";
import { ErrorState } from "~/ui/states";
import { CheckResult } from "./check-result";
import type { Server } from "./queries";
import { SpecEditor } from "./spec-editor";
import { useCheck } from "./use-check";
import type { About } from "./wizard";

interface Props {
  about: About;
  connection: UseFormReturnType<SQLConnection> | undefined;
  spec: string;
  onSpec: (spec: string) => void;
  saved: Server | undefined;
  onBack: () => void;
  onConnectionProblem: () => void;
  onSaved: (server: Server) => void;
}

/** What the server offers. Saving makes a draft, and it is then that Vault logs in. */
export function StepSpec({ about, connection, spec, onSpec, saved, onBack, onConnectionProblem, onSaved }: Props) {
  const client = useQueryClient();
  const state = useCheck(about.slug, about.kind, spec);
  const save = useMutation({
    mutationFn: () => body(api.PUT("/tenants/{tenant}/servers/{server}", {
      params: { path: at({ server: about.slug }) },
      body: {
        kind: about.kind, title: about.title.trim(), description: about.description.trim(), spec_yaml: spec, publish: false,
        // Once it is saved, Vault has it; only the spec goes on changing.
        ...(connection && !saved ? { connection: toDeclared(connection.values) } : {}),
      },
    })),
    onSuccess: async (server) => {
      await client.invalidateQueries({ queryKey: ["servers"] });
      onSaved(server);
    },
    onError: (error) => {
      if (connection && showConnectionProblem(connection, error)) onConnectionProblem();
    },
  });
  return (
    <Stack gap="md">
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 8 }}><SpecEditor value={spec} onChange={onSpec} problems={state.current ? state.problems : []} /></Grid.Col>
        <Grid.Col span={{ base: 12, md: 4 }}><CheckResult state={state} /></Grid.Col>
      </Grid>
      {save.isError && <ErrorState error={save.error} title="The draft was not saved" />}
      <Group justify="space-between">
        <Button variant="default" onClick={onBack} disabled={saved !== undefined}>Back</Button>
        <Group gap="sm">
          <Text size="sm" c="dimmed">{connection && !saved ? "Saves a draft and lets Vault log in." : "Saves a draft."}</Text>
          <Button disabled={!state.good} loading={save.isPending} onClick={() => save.mutate()}>Save the draft</Button>
        </Group>
      </Group>
    </Stack>
  );
}
