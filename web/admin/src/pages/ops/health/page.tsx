import { ActionIcon, Group, Select, Stack, Table, Text, Tooltip } from "@mantine/core";
import { IconCheck, IconRefresh, IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, type Schemas } from "~/api/client";
import { duration, exactTime } from "~/lib/time";
import { count } from "~/lib/words";
import { CodeView } from "~/ui/code";
import { PageHeader } from "~/ui/page-header";
import { Section } from "~/ui/section";
import { Loaded } from "~/ui/states";
import classes from "./health.module.css";

/** What the platform stands on, and whether its audit is whole. */
export function Page() {
  const query = useQuery({ queryKey: ["health"], queryFn: ({ signal }) => body(api.GET("/health", { signal })), refetchInterval: 15_000, staleTime: 0 });
  return (
    <>
      <PageHeader title="Health" actions={<Tooltip label="Check now"><ActionIcon variant="default" size={32} aria-label="Check now" loading={query.isFetching} onClick={() => void query.refetch()}><IconRefresh size={16} aria-hidden /></ActionIcon></Tooltip>}>
        The same checks as <span className="mono">platform doctor</span>, made by this edge every time the page asks.
      </PageHeader>
      <Stack gap="md">
        <Loaded query={query} rows={6}>{(health) => <Checks health={health} />}</Loaded>
        <Verification />
      </Stack>
    </>
  );
}

function Verdict({ ok, children }: { ok: boolean; children: React.ReactNode }) {
  return (
    <div className={classes.verdict} data-ok={ok} role="status">
      <span className={classes.disc}>{ok ? <IconCheck size={18} stroke={2.2} aria-hidden /> : <IconX size={18} stroke={2.2} aria-hidden />}</span>
      <span>{children}</span>
    </div>
  );
}

function Checks({ health }: { health: Schemas["Health"] }) {
  const bad = health.checks.filter((c) => !c.ok);
  return (
    <Section title="Checks" padded={false}>
      <Verdict ok={health.ok}>{health.ok ? "Everything the platform needs is there." : `${count(bad.length, "check")} failed: ${bad.map((c) => c.name).join(", ")}.`}</Verdict>
      <Table.ScrollContainer minWidth={560} type="native" tabIndex={0} role="region" aria-label="All checks">
        <Table aria-label="Checks" horizontalSpacing="md">
          <Table.Thead><Table.Tr><Table.Th scope="col">Check</Table.Th><Table.Th scope="col">Found</Table.Th><Table.Th scope="col">Needed</Table.Th><Table.Th scope="col" ta="right">Took</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {[...bad, ...health.checks.filter((c) => c.ok)].map((c) => (
              <Table.Tr key={c.name}>
                <Table.Th scope="row" fw={520}><span className={classes.check} data-ok={c.ok}>{c.ok ? <IconCheck size={15} stroke={2.2} aria-label="passed" /> : <IconX size={15} stroke={2.2} aria-label="failed" />}{c.name}</span></Table.Th>
                <Table.Td>{c.found}{c.fix && <Text size="sm" mt={4}><b>What to do.</b> {c.fix}</Text>}</Table.Td>
                <Table.Td c="dimmed">{c.required}</Table.Td>
                <Table.Td ta="right" className="num nowrap">{duration(c.latency_ms)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Section>
  );
}

const spans = [{ value: "1", label: "Last day" }, { value: "7", label: "Last 7 days" }, { value: "30", label: "Last 30 days" }, { value: "all", label: "Everything" }];

function Verification() {
  const [span, setSpan] = useState("7");
  const query = useQuery({
    queryKey: ["audit-verification", span],
    queryFn: ({ signal }) => body(api.GET("/audit/verification", { params: { query: span === "all" ? {} : { since: new Date(Date.now() - Number(span) * 86_400_000).toISOString() } }, signal })),
  });
  return (
    <Section title="Audit" says="Each writer numbers its records, so that one that is missing leaves a gap." actions={<Select aria-label="How far back" w={150} allowDeselect={false} data={spans} value={span} onChange={(v) => setSpan(v ?? "7")} />}>
      <Loaded query={query} rows={3}>{(v) => <Verified verification={v} />}</Loaded>
    </Section>
  );
}

function Verified({ verification: v }: { verification: Schemas["AuditVerification"] }) {
  return (
    <Stack gap="sm">
      <Verdict ok={v.ok}>
        {v.ok ? "No record is missing" : `${count(v.gaps.reduce((n, g) => n + g.missing, 0), "record")} missing`}: {count(v.records, "record")} of {count(v.writers, "writer")}{v.since && ` since ${exactTime(v.since)}`}.
      </Verdict>
      {(v.open_intents ?? 0) > 0 && <Text size="sm">{count(v.open_intents!, "call")} began and never ended on record; {v.open_intents === 1 ? "its outcome is" : "their outcomes are"} unknown.</Text>}
      {v.gaps.length > 0 && (
        <>
          <Table aria-label="Gaps">
            <Table.Thead><Table.Tr><Table.Th scope="col">Writer</Table.Th><Table.Th scope="col" ta="right">After</Table.Th><Table.Th scope="col" ta="right">Before</Table.Th><Table.Th scope="col" ta="right">Missing</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>
              {v.gaps.map((g) => (
                <Table.Tr key={`${g.writer} ${g.after}`}>
                  <Table.Th scope="row" fw={450} className="mono">{g.writer}</Table.Th>
                  <Table.Td ta="right" className="num">{g.after.toLocaleString("en")}</Table.Td><Table.Td ta="right" className="num">{g.before.toLocaleString("en")}</Table.Td><Table.Td ta="right" className="num">{g.missing.toLocaleString("en")}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
          <Group gap={6}><Text size="sm">Look for the same with the command line, and compare with a backup of the database:</Text></Group>
          <CodeView value="platform audit verify" label="Verify the audit" />
        </>
      )}
    </Stack>
  );
}
