import { Button, Grid, Group, Stack, Text } from "@mantine/core";
import { discovers } from "~/connection/declared";
import { ErrorState } from "~/ui/states";
import { CheckResult } from "./check-result";
import { SpecEditor } from "./spec-editor";
import { useCheck } from "./use-check";
import { useSave, type Draft } from "./use-save";

interface Props {
  draft: Draft;
  onSpec: (spec: string) => void;
  onBack: () => void;
  /** Where the server is tried before it is saved. */
  onCheck?: () => void;
}

/** What the server offers. Saving makes a draft, and it is then that Vault logs in. */
export function StepSpec({ draft, onSpec, onBack, onCheck }: Props) {
  const { about, connection, spec, saved } = draft;
  const state = useCheck(about.slug, about.kind, spec);
  const save = useSave(draft);
  return (
    <Stack gap="md">
      {discovers.has(about.kind) && <Text size="sm" c="dimmed" maw={720}>Its upstream says which tools there are. Here you say which of them are offered, under which scopes, and how grave they are. Each has a scope of its own where nothing else is said.</Text>}
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 8 }}><SpecEditor value={spec} onChange={onSpec} problems={state.current ? state.problems : []} /></Grid.Col>
        <Grid.Col span={{ base: 12, md: 4 }}><CheckResult state={state} upstream={discovers.has(about.kind)} /></Grid.Col>
      </Grid>
      {save.isError && <ErrorState error={save.error} title="The draft was not saved" />}
      <Group justify="space-between">
        <Button variant="default" onClick={onBack} disabled={saved !== undefined}>Back</Button>
        <Group gap="sm">
          <Text size="sm" c="dimmed">{onCheck ? "It is tried before anything is saved." : connection && !saved ? "Saves a draft and lets Vault log in." : "Saves a draft."}</Text>
          {onCheck
            ? <Button disabled={!state.good} onClick={onCheck}>Try it live</Button>
            : <Button disabled={!state.good} loading={save.isPending} onClick={() => save.mutate()}>Save the draft</Button>}
        </Group>
      </Group>
    </Stack>
  );
}
