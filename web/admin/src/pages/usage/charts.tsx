import "@mantine/charts/styles.layer.css";
import { BarChart, LineChart } from "@mantine/charts";
import { Table } from "@mantine/core";
import { useMemo } from "react";
import { alone, ms, points, type Point, type Usage } from "./model";
import classes from "./usage.module.css";

const calls = [
  { name: "done", label: "Done", color: "var(--lk-chart-done)" },
  { name: "refused", label: "Refused", color: "var(--lk-chart-refused)" },
  { name: "failed", label: "Failed", color: "var(--lk-chart-failed)" },
  { name: "unknown", label: "Unknown", color: "var(--lk-chart-unknown)" },
];
const latency = [
  { name: "p50", label: "p50", color: "var(--lk-chart-p50)" },
  { name: "p95", label: "p95", color: "var(--lk-chart-p95)" },
  { name: "p99", label: "p99", color: "var(--lk-chart-p99)" },
] as const;
const axis = { minTickGap: 40, fontSize: 11 };
const whole = (n: number) => n.toLocaleString("en");

/** A line has no end to see where there is but one point; those are dots. */
function dotsOf(data: readonly Point[]) {
  return ({ name, color }: { name: string; color?: string }) => ({
    isAnimationActive: false,
    dot: ({ index, cx, cy }: { index: number; cx?: number | string; cy?: number | string }) =>
      alone(data, index, name as "p50") ? <circle key={index} cx={cx} cy={cy} r={2.5} fill={color} /> : <g key={index} />,
  });
}

/** Both charts, each with its numbers beside it for whoever cannot or would not read a picture. */
export function Charts({ usage }: { usage: Usage }) {
  const data = useMemo(() => points(usage), [usage]);
  const rows = useMemo(() => data.toReversed(), [data]);
  const dots = useMemo(() => dotsOf(data), [data]);
  // A legend entry for what never happened says nothing.
  const shown = calls.filter((s) => s.name === "done" || data.some((p) => p[s.name as "failed"] > 0));
  return (
    <>
      <figure className={classes.figure} aria-label="Calls by outcome">
        <div className={classes.chart}>
          <figcaption className={classes.caption}>Calls by outcome</figcaption>
          <div aria-hidden><BarChart h={210} data={data} dataKey="label" type="stacked" series={shown} withLegend legendProps={{ verticalAlign: "top" }} xAxisProps={axis} yAxisProps={{ width: 44, fontSize: 11, allowDecimals: false }} gridAxis="x" valueFormatter={whole} barChartProps={{ accessibilityLayer: false }} barProps={{ isAnimationActive: false }} maxBarWidth={26} /></div>
        </div>
        <Numbers label="Calls by outcome, newest first" rows={rows} columns={shown.map(({ name, label }) => ({ label, value: (p: Point) => whole(p[name as "done"]) }))} />
      </figure>
      <figure className={classes.figure} aria-label="Latency">
        <div className={classes.chart}>
          <figcaption className={classes.caption}>Latency</figcaption>
          <div aria-hidden><LineChart h={210} data={data} dataKey="label" series={[...latency]} curveType="linear" withDots={false} withLegend legendProps={{ verticalAlign: "top" }} xAxisProps={axis} yAxisProps={{ width: 56, fontSize: 11 }} gridAxis="x" valueFormatter={(n) => ms(n)} strokeWidth={1.6} connectNulls={false} lineChartProps={{ accessibilityLayer: false }} lineProps={dots} /></div>
        </div>
        <Numbers label="Latency, newest first" rows={rows} columns={latency.map(({ name, label }) => ({ label, value: (p: Point) => ms(p[name] ?? undefined) }))} />
      </figure>
    </>
  );
}

function Numbers({ label, rows, columns }: { label: string; rows: readonly Point[]; columns: { label: string; value: (point: Point) => string }[] }) {
  return (
    <div className={classes.numbers} tabIndex={0} role="region" aria-label={label}>
      <Table aria-label={label} stickyHeader verticalSpacing={4} fz="xs">
        <Table.Thead>
          <Table.Tr><Table.Th scope="col">From</Table.Th>{columns.map((c) => <Table.Th key={c.label} scope="col" ta="right">{c.label}</Table.Th>)}</Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map((p) => (
            <Table.Tr key={p.at}>
              <Table.Th scope="row" fw={400} className="num nowrap">{p.label}</Table.Th>
              {columns.map((c) => <Table.Td key={c.label} ta="right" className="num">{c.value(p)}</Table.Td>)}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
