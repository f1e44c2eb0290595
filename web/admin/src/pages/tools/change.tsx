import { Button, Group, Stack, Text } from "@mantine/core";
import { useMutation, type QueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { api, at, body, type Schemas, type Tagged } from "~/api/client";
import { isStale, ProblemError } from "~/api/problem";
import { useAllowBreaking } from "~/ui/allow-breaking";
import { Findings } from "~/ui/change-class";
import { DiffView } from "~/ui/diff";
import { StaleAlert } from "~/ui/stale";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";

type Tool = Schemas["Tool"];
type Change = Omit<Schemas["ToolUpdate"], "publish" | "allow_breaking">;
type Staged = Schemas["RevisionStaged"];

/** What the platform said a change would do. */
export interface Seen {
  change: Change;
  diff: Schemas["Diff"];
  findings?: Schemas["LintFinding"][];
}

/** Sends a change of one tool, to try it or to save it. */
export function changeTool({ data: t, etag }: Tagged<Tool>, change: Change, how: { dry_run?: boolean; publish?: boolean; allow_breaking?: boolean }) {
  return body(api.PATCH("/tenants/{tenant}/servers/{server}/tools/{tool}", {
    params: { path: at({ server: t.server, tool: t.name }), header: { "If-Match": etag }, query: how.dry_run ? { dry_run: true } : {} },
    body: { ...change, publish: how.publish ?? false, ...(how.allow_breaking && { allow_breaking: true }) },
  }));
}

export const useSaved = (t: Pick<Tool, "server">, client: QueryClient, onClose: () => void) => async ({ published, revision }: Staged) => {
  toast.done(published ? `${t.server} serves revision ${revision?.number ?? "with the change"}.` : `Revision ${revision?.number ?? ""} is staged.`);
  onClose();
  await client.invalidateQueries();
};

interface Props {
  read: Tagged<Tool>;
  seen: Seen;
  children?: ReactNode;
  onBack: () => void;
  onSaved: (staged: Staged) => Promise<void>;
  onReload: () => void;
}

/** The difference, what speaks against it, and the two ways on: stage it, or publish it. */
export function Changes({ read, seen, children, onBack, onSaved, onReload }: Props) {
  const t = read.data;
  const save = useMutation({
    mutationFn: (how: { publish: boolean; allow_breaking?: boolean }) => changeTool(read, seen.change, how),
    onSuccess: onSaved,
  });
  const refused = save.error instanceof ProblemError && save.error.code === "breaking_change";
  const breaks = refused || seen.diff.class === "breaking";
  const unsafe = seen.findings?.some((f) => f.level === "error") ?? false;
  const allow = useAllowBreaking(t.name);
  return (
    <Stack gap="md">
      <Text size="sm">This is what changes for clients and models:</Text>
      <Findings findings={seen.findings} />
      <DiffView diff={seen.diff} />
      {children}
      {breaks && allow.field}
      {isStale(save.error) ? <StaleAlert what={`The server ${t.server}`} onReload={onReload} /> : save.isError && <ErrorState error={save.error} />}
      <Group justify="space-between">
        <Button variant="default" onClick={onBack}>Back</Button>
        <Group gap="xs">
          <Button variant="default" loading={save.isPending && !save.variables.publish} onClick={() => save.mutate({ publish: false })}>Stage it</Button>
          <Button
            color={breaks ? "red" : undefined} disabled={seen.diff.same || unsafe || (breaks && !allow.allowed)} loading={save.isPending && save.variables.publish}
            onClick={() => save.mutate({ publish: true, ...(breaks && { allow_breaking: true }) })}
          >
            {breaks ? "Publish although it breaks" : "Publish"}
          </Button>
        </Group>
      </Group>
    </Stack>
  );
}
