import { Button, Grid, Group, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useBlocker } from "@tanstack/react-router";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { ConfirmDialog } from "~/ui/confirm";
import { ErrorState, Loaded } from "~/ui/states";
import { toast } from "~/ui/toast";
import { CheckResult } from "./check-result";
import { revisionQuery, type Server } from "./queries";
import { SpecEditor } from "./spec-editor";
import { PublishDialog } from "./tab-revisions";
import { useCheck } from "./use-check";

/** Writes the next revision: edited, checked while one types, staged, published after a look at the difference. */
export function SpecTab({ server: s }: { server: Server }) {
  const query = useQuery({ ...revisionQuery(s.slug, s.latest_revision ?? 1), enabled: s.latest_revision !== undefined, refetchOnWindowFocus: false });
  if (s.latest_revision === undefined) return <Editor server={s} start="" />;
  return <Loaded query={query} rows={8}>{(r) => <Editor key={r.number} server={s} start={r.spec_yaml ?? ""} number={r.number} />}</Loaded>;
}

function Editor({ server: s, start, number }: { server: Server; start: string; number?: number }) {
  const client = useQueryClient();
  const readOnly = !useCan()("servers:write");
  const [spec, setSpec] = useState(start);
  const [staged, setStaged] = useState<number>();
  const [asking, ask] = useDisclosure();
  const state = useCheck(s.slug, s.kind, spec);
  const changed = spec !== start;
  const stage = useMutation({
    mutationFn: () => body(api.POST("/tenants/{tenant}/servers/{server}/revisions", { params: { path: at({ server: s.slug }), query: {} }, body: { spec_yaml: spec } })),
    onSuccess: ({ revision, diff }) => {
      setStaged(revision?.number);
      if (diff.same) toast.done("The spec says what is served already.");
      ask.open();
    },
  });
  const blocker = useBlocker({ shouldBlockFn: ({ current, next }) => changed && staged === undefined && current.pathname !== next.pathname, enableBeforeUnload: changed && staged === undefined, withResolver: true });
  const done = () => {
    ask.close();
    void client.invalidateQueries();
  };
  return (
    <Stack gap="sm">
      <Group justify="space-between">
        <Text size="sm" c="dimmed">{number ? `Revision ${number}${number === s.active_revision ? ", which is served" : ", which is staged"}.` : "No revision yet."} {!readOnly && "Saving stages a new one; nothing changes for clients before you publish it."}</Text>
        {!readOnly && (
          <Group gap="xs">
            {changed && <Button variant="subtle" color="gray" onClick={() => setSpec(start)}>Put it back</Button>}
            <Button disabled={!changed || !state.good} loading={stage.isPending} onClick={() => stage.mutate()}>Save and compare</Button>
          </Group>
        )}
      </Group>
      {stage.isError && <ErrorState error={stage.error} title="It was not saved" />}
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 8 }}><SpecEditor value={spec} onChange={setSpec} problems={state.current ? state.problems : []} readOnly={readOnly} /></Grid.Col>
        <Grid.Col span={{ base: 12, md: 4 }}><CheckResult state={state} /></Grid.Col>
      </Grid>
      {staged !== undefined && <PublishDialog server={s} number={staged} findings={stage.data?.findings} opened={asking} onClose={() => { toast.done(`Revision ${staged} is staged.`); done(); }} onDone={done} />}
      <ConfirmDialog opened={blocker.status === "blocked"} onClose={() => blocker.reset?.()} title="Leave without saving?" action="Leave and discard" danger onConfirm={async () => blocker.proceed?.()}>
        What you changed in the spec is not saved.
      </ConfirmDialog>
    </Stack>
  );
}
