import { Select, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { EmptyState, Loaded } from "~/ui/states";
import { revisionQuery, type Server } from "./queries";
import { server as route } from "./routes";
import { TryTool } from "./try-tool";

export function TryTab({ server: s }: { server: Server }) {
  const { tool } = route.useSearch();
  const navigate = route.useNavigate();
  const choices = [s.active_revision, s.latest_revision].filter((n, i, all): n is number => n !== undefined && all.indexOf(n) === i);
  const [revision, setRevision] = useState(choices[0]);
  const query = useQuery({ ...revisionQuery(s.slug, revision ?? 1), enabled: revision !== undefined });
  if (revision === undefined) return <EmptyState title="Nothing to try yet">Write a spec first.</EmptyState>;
  return (
    <Stack gap="md">
      {choices.length > 1 && (
        <Select label="Revision" w={220} allowDeselect={false} value={String(revision)} onChange={(v) => v && setRevision(Number(v))}
          data={choices.map((n) => ({ value: String(n), label: n === s.active_revision ? `${n}, served` : `${n}, staged` }))} />
      )}
      <Loaded query={query}>
        {(r) => r.tools.length === 0 ? <EmptyState title="This revision has no tools" /> : (
          <TryTool server={s.slug} revision={revision} tools={r.tools} tool={tool} onPick={(next) => void navigate({ search: { tab: "try", tool: next }, replace: true })} />
        )}
      </Loaded>
    </Stack>
  );
}
