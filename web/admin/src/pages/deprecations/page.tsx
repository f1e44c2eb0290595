import { Badge, Stack, Text } from "@mantine/core";
import { IconHourglassEmpty } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { DataTable } from "mantine-datatable";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { exactDay } from "~/lib/time";
import { count } from "~/lib/words";
import { TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import tables from "~/ui/paged-table.module.css";
import { EmptyState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { leftOf } from "./words";

type Row = Schemas["DeprecatedTool"];

/** What is going, until when, and who has to hear of it. */
export function Page() {
  const query = useQuery({ queryKey: ["deprecations"], queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/deprecations", { params: { path: at() }, signal })) });
  return (
    <>
      <PageHeader title="Deprecations">Tools, and versions of tools, that are going. Until its sunset one works and says so in every answer; from then on it is in no list, and a call gets its successor's name.</PageHeader>
      <Loaded query={query} rows={5}>
        {({ data }) => data.length === 0
          ? <EmptyState icon={IconHourglassEmpty} title="Nothing is going">A tool stands here when its spec says <span className="mono">deprecated</span>, and the version before when a tool <span className="mono">replaces</span> one.</EmptyState>
          : <Table rows={data} />}
      </Loaded>
    </>
  );
}

function Table({ rows }: { rows: Row[] }) {
  const can = useCan();
  return (
    <DataTable
      records={rows.map((r) => ({ ...r, key: `${r.server} ${r.tool} ${r.version}` }))} idAccessor="key" className={tables.table} withTableBorder={false} borderRadius="lg" fz="sm" verticalSpacing={10} minHeight={0}
      scrollAreaProps={{ viewportProps: { tabIndex: 0, role: "region", "aria-label": "Deprecations" } }}
      columns={[
        {
          accessor: "tool", title: "Tool", width: 240, render: (r) => (
            <>
              <TextLink to="/tools/$server/$tool" params={{ server: r.server, tool: r.tool }} fw={550} c="inherit">{r.title || r.tool}</TextLink>
              <Text size="xs" c="dimmed"><span className="mono">{r.server}/{r.tool}</span>, version {r.version}</Text>
              <TextLink to="/servers/$server" params={{ server: r.server }} search={{ tab: "revisions" }} size="xs">Revisions of {r.server}</TextLink>
            </>
          ),
        },
        {
          accessor: "sunset", title: "Sunset", width: 170, render: ({ deprecation: d, calls }) => {
            const { label, color } = leftOf(d, calls, Date.now());
            return <><Badge color={color}>{label}</Badge><Text size="xs" c="dimmed" mt={3}>{exactDay(d.sunset)}{d.since && `, since ${exactDay(d.since)}`}</Text></>;
          },
        },
        {
          accessor: "successor", title: "Instead", width: 230, render: ({ server, deprecation: d }) => (
            <>
              {d.successor ? <TextLink to="/tools/$server/$tool" params={{ server, tool: d.successor }}><span className="mono">{d.successor}</span></TextLink> : <Text span size="sm" c="dimmed">nothing named</Text>}
              {d.message && <Text size="xs" c="dimmed" lineClamp={3} title={d.message}>{d.message}</Text>}
            </>
          ),
        },
        {
          accessor: "calls", title: "Calls in 7 days", width: 140, render: (r) => (
            <>
              <Text size="sm" fw={r.calls > 0 ? 580 : 400} className="num" c={r.calls > 0 ? undefined : "dimmed"}>{r.calls.toLocaleString("en")}</Text>
              {r.last_call_at && <Text size="xs" c="dimmed">last <RelativeTime at={r.last_call_at} /></Text>}
              {r.calls > 0 && can("audit:read") && <TextLink to="/audit" search={{ server: r.server, tool: r.tool, range: "7d" }} size="xs">its calls</TextLink>}
            </>
          ),
        },
        { accessor: "members", title: "Still called by", width: 240, render: (r) => <Callers members={r.members} /> },
      ]}
    />
  );
}

function Callers({ members }: { members: string[] }) {
  const can = useCan();
  if (members.length === 0) return <Text span size="sm" c="dimmed">nobody</Text>;
  return (
    <details>
      <summary style={{ cursor: "pointer" }}>{count(members.length, "person", "people")}{members.length >= 20 && " or more"}</summary>
      <Stack gap={2} mt={4} align="flex-start">
        {members.map((m) => (can("members:read") ? <TextLink key={m} to="/people/$member" params={{ member: m }} size="sm" lh="24px">{m}</TextLink> : <Text key={m} size="sm">{m}</Text>))}
      </Stack>
    </details>
  );
}
