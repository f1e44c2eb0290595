import type { Schemas } from "~/api/client";
import { duration } from "~/lib/time";
import classes from "./overview.module.css";

type Numbers = Schemas["UsageNumbers"];

/** The last day in four figures, each with its course. The table behind them is the usage page. */
export function Numbers({ usage }: { usage: Schemas["Usage"] }) {
  const t = usage.totals;
  const course = (pick: (n: Numbers) => number) => usage.series.map((p) => pick(p.numbers));
  return (
    <dl className={classes.numbers} aria-label="The last 24 hours">
      <Figure name="Calls" value={t.calls.toLocaleString("en")} course={course((n) => n.calls)} />
      <Figure name="Failed" value={t.failed.toLocaleString("en")} course={course((n) => n.failed)} />
      <Figure name="Refused" value={t.refused.toLocaleString("en")} course={course((n) => n.refused)} />
      <Figure name="95 of 100 within" value={t.p95_ms === undefined ? "–" : duration(t.p95_ms)} />
    </dl>
  );
}

function Figure({ name, value, course }: { name: string; value: string; course?: number[] }) {
  return (
    <div className={classes.figure}>
      <dt>{name}<span className={classes.window}> · 24 h</span></dt>
      <dd className="num">{value}</dd>
      {course && course.length > 1 && <Course values={course} />}
    </div>
  );
}

function Course({ values }: { values: number[] }) {
  const top = Math.max(1, ...values);
  const points = values.map((v, i) => `${((i / (values.length - 1)) * 100).toFixed(1)},${(23 - (v / top) * 21).toFixed(1)}`).join(" ");
  return (
    <svg className={classes.course} viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points} fill="none" vectorEffect="non-scaling-stroke" />
    </svg>
  );
}
