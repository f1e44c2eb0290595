import { Badge, Button, Drawer, Group, Select, Stack, Tabs, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { ProblemError } from "~/api/problem";
import { Findings } from "~/ui/change-class";
import { ConfirmDialog } from "~/ui/confirm";
import { DiffView, TextDiff } from "~/ui/diff";
import { CodeView } from "~/ui/code";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { diffQuery, publish, revisionQuery, type Server } from "./queries";
import { server as route } from "./routes";

type Summary = Schemas["RevisionSummary"];

/** What was ever staged or served, and the way to look at each, to compare, publish and go back. */
export function RevisionsTab({ server: s }: { server: Server }) {
  const { revision } = route.useSearch();
  const navigate = route.useNavigate();
  const open = (number: number | undefined) => void navigate({ search: { tab: "revisions", revision: number } });
  const pages = usePages<Summary>(["servers", s.slug, "revisions"], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/servers/{server}/revisions", { params: { path: at({ server: s.slug }), query: { cursor, limit: 50 } }, signal })));
  const numbers = pages.data?.pages.flatMap((p) => p.data.map((r) => r.number)) ?? [];
  return (
    <>
      <PagedTable
        pages={pages} label="Revisions" one="revision" rowKey="id" onRowClick={(r) => open(r.number)}
        empty={<EmptyState title="No revision yet">A revision is staged when a spec is saved.</EmptyState>}
        columns={[
          {
            accessor: "number", title: "Revision", render: (r) => (
              <Group gap="xs">
                <Button variant="subtle" size="compact-sm" className="num" onClick={(e) => { e.stopPropagation(); open(r.number); }}>Revision {r.number}</Button>
                {r.active && <Badge color="green">Served</Badge>}
                {!r.active && r.number > (s.active_revision ?? 0) && <Badge color="amber">Staged</Badge>}
              </Group>
            ),
          },
          { accessor: "created_by", title: "By" },
          { accessor: "created_at", title: "When", width: 140, render: (r) => <RelativeTime at={r.created_at} /> },
          { accessor: "tools", width: 80, textAlign: "right", render: (r) => <span className="num">{r.tools}</span> },
          { accessor: "hash", title: "Content", width: 110, visibleMediaQuery: "(min-width: 800px)", render: (r) => <span className="mono">{r.hash.replace(/^sha256:/, "").slice(0, 8)}</span> },
        ]}
      />
      <Drawer opened={revision !== undefined} onClose={() => open(undefined)} title={`Revision ${revision ?? ""} of ${s.slug}`} size="xl">
        {revision !== undefined && <RevisionView key={revision} server={s} number={revision} numbers={numbers} onDone={() => open(undefined)} />}
      </Drawer>
    </>
  );
}

interface ViewProps {
  server: Server;
  number: number;
  numbers: number[];
  onDone: () => void;
}

function RevisionView({ server: s, number, numbers, onDone }: ViewProps) {
  const can = useCan();
  const [from, setFrom] = useState<number>();
  const [asking, setAsking] = useState(false);
  const active = s.active_revision === number;
  const against = from ?? (active ? numbers.find((n) => n < number) : s.active_revision);
  const revision = useQuery(revisionQuery(s.slug, number));
  const diff = useQuery(diffQuery(s.slug, number, against));
  const rollback = s.active_revision !== undefined && number < s.active_revision;
  return (
    <Stack gap="md">
      <Group justify="space-between" align="flex-end">
        <Select
          label="Compared with" w={220} value={against === undefined ? null : String(against)} placeholder="Nothing before it" allowDeselect={false}
          data={numbers.filter((n) => n !== number).map((n) => ({ value: String(n), label: `Revision ${n}${n === s.active_revision ? ", served" : ""}` }))}
          onChange={(v) => v && setFrom(Number(v))}
        />
        {active ? <Badge color="green">Served</Badge> : can("servers:write") && (
          <Button onClick={() => setAsking(true)} disabled={!diff.isSuccess}>{rollback ? `Roll back to ${number}` : `Publish ${number}`}</Button>
        )}
      </Group>
      <Tabs defaultValue="changes">
        <Tabs.List mb="sm">
          <Tabs.Tab value="changes">What changes</Tabs.Tab>
          <Tabs.Tab value="text">Spec, line by line</Tabs.Tab>
          <Tabs.Tab value="spec">Whole spec</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="changes"><Loaded query={diff}>{(d) => <DiffView diff={d} />}</Loaded></Tabs.Panel>
        <Tabs.Panel value="text"><SpecDiff server={s.slug} from={against} to={number} /></Tabs.Panel>
        <Tabs.Panel value="spec"><Loaded query={revision}>{(r) => <CodeView value={r.spec_yaml ?? ""} label={`Spec of revision ${number}`} numbers maxHeight={640} />}</Loaded></Tabs.Panel>
      </Tabs>
      <PublishDialog server={s} number={number} opened={asking} onClose={() => setAsking(false)} onDone={onDone} />
    </Stack>
  );
}

function SpecDiff({ server, from, to }: { server: string; from: number | undefined; to: number }) {
  const before = useQuery({ ...revisionQuery(server, from ?? 1), enabled: from !== undefined });
  const after = useQuery(revisionQuery(server, to));
  return (
    <Loaded query={after}>
      {(b) => from === undefined
        ? <TextDiff before="" after={b.spec_yaml ?? ""} label="Spec, line by line" />
        : <Loaded query={before}>{(a) => <TextDiff before={a.spec_yaml ?? ""} after={b.spec_yaml ?? ""} label="Spec, line by line" />}</Loaded>}
    </Loaded>
  );
}

interface PublishProps {
  server: Pick<Server, "slug" | "active_revision">;
  number: number;
  opened: boolean;
  /** What was noticed when it was staged. */
  findings?: readonly Schemas["LintFinding"][];
  onClose: () => void;
  onDone: () => void;
}

/** The last look before a revision is served: always the difference from what is served now, and what of it would break somebody. */
export function PublishDialog({ server: s, number, opened, findings, onClose, onDone }: PublishProps) {
  const client = useQueryClient();
  const [refused, setRefused] = useState(false);
  const diff = useQuery({ ...diffQuery(s.slug, number, s.active_revision), enabled: opened });
  const rollback = s.active_revision !== undefined && number < s.active_revision;
  const breaks = refused || diff.data?.class === "breaking";
  return (
    <ConfirmDialog
      opened={opened} onClose={onClose} size="lg" title={rollback ? `Roll back to revision ${number}` : `Publish revision ${number}`}
      action={breaks ? `${rollback ? "Roll back" : "Publish"} although it breaks` : rollback ? "Roll back" : "Publish"} danger={breaks} typed={breaks ? s.slug : undefined}
      onConfirm={async () => {
        await publish(s.slug, number, breaks).catch((error: unknown) => {
          if (error instanceof ProblemError && error.code === "breaking_change") setRefused(true);
          throw error;
        });
        toast.done(`${s.slug} serves revision ${number}.`);
        onDone();
        await client.invalidateQueries();
      }}
    >
      <Stack gap="sm">
        <Text size="sm">{s.active_revision ? `Clients get this instead of revision ${s.active_revision}, from their next call on.` : "The server becomes visible to everyone whose roles open something on it."}</Text>
        <Findings findings={findings} />
        <Loaded query={diff} rows={3}>{(d) => <DiffView diff={d} />}</Loaded>
        {breaks && (
          <Text size="sm">
            The platform refuses this as it is: give a changed tool a new name, or a higher <span className="mono">version</span> with <span className="mono">replaces</span>, and deprecate the old one first. If nobody uses it, or everybody knows, publish it all the same; that goes on record.
          </Text>
        )}
      </Stack>
    </ConfirmDialog>
  );
}
