import { Anchor, Text } from "@mantine/core";
import { DataTable, type DataTableSortStatus } from "mantine-datatable";
import { useMemo, useState } from "react";
import { useCan } from "~/api/me";
import { TextLink } from "~/ui/link";
import { drill, ms, narrowing, nextGrouping, nouns, percent, type By, type Group, type Usage, type UsageSearch } from "./model";
import classes from "./usage.module.css";
import table from "~/ui/paged-table.module.css";

const keys = {
  key: (g: Group) => g.label || g.key,
  calls: (g: Group) => g.numbers.calls,
  refused: (g: Group) => g.numbers.refused,
  failed: (g: Group) => g.numbers.failed,
  p50: (g: Group) => g.numbers.p50_ms ?? -1,
  p95: (g: Group) => g.numbers.p95_ms ?? -1,
  p99: (g: Group) => g.numbers.p99_ms ?? -1,
};
type SortKey = keyof typeof keys;

export function sortGroups(groups: readonly Group[], by: SortKey, down: boolean): Group[] {
  const of = keys[by];
  return groups.toSorted((a, b) => {
    const x = of(a);
    const y = of(b);
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  });
}

interface Props {
  usage: Usage;
  by: By;
  search: UsageSearch;
  onDrill: (patch: Partial<UsageSearch>) => void;
}

/** One row for each tool, server, person or client; a click narrows everything to it. */
export function Groups({ usage, by, search, onDrill }: Props) {
  const can = useCan();
  const [sort, setSort] = useState<DataTableSortStatus<Group & { id: string }>>({ columnAccessor: "calls", direction: "desc" });
  const most = Math.max(1, ...usage.groups.map((g) => g.numbers.calls));
  const rows = useMemo(() => sortGroups(usage.groups, sort.columnAccessor as SortKey, sort.direction === "desc").map((g) => Object.assign({}, g, { id: `${g.server} ${g.key}` })), [usage.groups, sort]);
  const into = (g: Group) => onDrill({ ...drill(by, g), by: nextGrouping(by) });
  const numeric = { textAlign: "right", sortable: true, cellsClassName: "num" } as const;
  const audit = (g: Group, outcome: "refused" | "failed", n: number) =>
    n === 0 || !can("audit:read") ? n.toLocaleString("en") : (
      <TextLink to="/audit" size="sm" search={{ range: (search.range ?? "24h"), ...narrowing(search), ...drill(by, g), outcome }} aria-label={`${n} ${outcome} of ${g.label || g.key}, in the audit`} c={outcome === "failed" ? "var(--lk-bad)" : "var(--lk-warn)"}>{n.toLocaleString("en")}</TextLink>
    );
  return (
    <DataTable
      records={rows} idAccessor="id" sortStatus={sort} onSortStatusChange={setSort} withTableBorder={false} borderRadius="lg" className={table.table} verticalSpacing={8} fz="sm" minHeight={0} highlightOnHover
      onRowClick={({ record }) => into(record)}
      scrollAreaProps={{ viewportProps: { tabIndex: 0, role: "region", "aria-label": `By ${nouns[by].toLowerCase()}` } }}
      columns={[
        {
          accessor: "key", title: nouns[by], sortable: true,
          render: (g) => (
            <>
              <Anchor component="button" type="button" size="sm" fw={520} ta="start" onClick={(e) => { e.stopPropagation(); into(g); }}>{g.label || g.key}</Anchor>
              {g.server && <Text size="xs" c="dimmed">{g.server}</Text>}
            </>
          ),
        },
        { accessor: "calls", title: "Calls", ...numeric, render: (g) => g.numbers.calls.toLocaleString("en") },
        { accessor: "share", title: <span className="nowrap">How they ended</span>, width: "22%", render: (g) => <Bar group={g} most={most} /> },
        { accessor: "refused", title: "Refused", ...numeric, render: (g) => audit(g, "refused", g.numbers.refused) },
        { accessor: "failed", title: "Failed", ...numeric, render: (g) => audit(g, "failed", g.numbers.failed) },
        { accessor: "p50", title: "p50", ...numeric, render: (g) => ms(g.numbers.p50_ms) },
        { accessor: "p95", title: "p95", ...numeric, render: (g) => ms(g.numbers.p95_ms) },
        { accessor: "p99", title: "p99", ...numeric, render: (g) => ms(g.numbers.p99_ms) },
      ]}
    />
  );
}

function Bar({ group, most }: { group: Group; most: number }) {
  const { calls, done, refused, failed } = group.numbers;
  const width = (n: number) => ({ width: `${(100 * n) / most}%` });
  return (
    <div className={classes.bar} role="img" aria-label={`${percent(done, calls)} done, ${percent(refused, calls)} refused, ${percent(failed, calls)} failed`}>
      <span className={classes.done} style={width(done)} />
      <span className={classes.refused} style={width(refused)} />
      <span className={classes.failed} style={width(failed)} />
    </div>
  );
}
