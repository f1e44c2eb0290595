import type { Schemas } from "~/api/client";
import { duration } from "~/lib/time";

export type Usage = Schemas["Usage"];
export type Numbers = Schemas["UsageNumbers"];
export type Group = Schemas["UsageGroup"];

export type Range = "1h" | "24h" | "7d" | "30d";
export type By = "server" | "tool" | "member" | "client";

export interface UsageSearch {
  range?: Range;
  by?: By;
  server?: string;
  tool?: string;
  member?: string;
  client?: string;
}

export const ranges: { value: Range; label: string }[] = [
  { value: "1h", label: "Hour" }, { value: "24h", label: "24 hours" }, { value: "7d", label: "7 days" }, { value: "30d", label: "30 days" },
];
export const groupings: { value: By; label: string }[] = [
  { value: "tool", label: "Tool" }, { value: "server", label: "Server" }, { value: "member", label: "Person" }, { value: "client", label: "Client" },
];
export const nouns: Record<By, string> = { tool: "Tool", server: "Server", member: "Person", client: "Client" };

/** What narrows the numbers, as the API and the audit explorer take it. */
export function narrowing({ server, tool, member, client }: UsageSearch): Pick<UsageSearch, By> {
  return Object.fromEntries(Object.entries({ server, tool, member, client }).filter(([, v]) => v !== undefined));
}

/** The filters that a click on a row adds: a tool is one of its server. */
export function drill(by: By, group: Group): Pick<UsageSearch, By> {
  return by === "tool" && group.server ? { server: group.server, tool: group.key } : { [by]: group.key };
}

/** What to look at next when one thing has been chosen. */
export function nextGrouping(by: By): By {
  return by === "server" ? "tool" : by === "tool" ? "member" : by === "member" ? "tool" : "member";
}

export const percent = (part: number, of: number): string => {
  if (of === 0 || part === 0) return "0%";
  const p = (100 * part) / of;
  return p < 0.1 ? "<0.1%" : `${p.toFixed(p < 10 ? 1 : 0)}%`;
};
export const ms = (value: number | undefined): string => (value === undefined ? "–" : duration(value));

/** Points of the series with the labels of its axis; what had no call has no latency. */
export function points(usage: Pick<Usage, "series" | "step_s">) {
  const label = axis(usage.step_s);
  return usage.series.map(({ at, numbers }) => ({
    at, label: label(at), done: numbers.done, failed: numbers.failed, refused: numbers.refused, unknown: numbers.unknown,
    p50: known(numbers.p50_ms), p95: known(numbers.p95_ms), p99: known(numbers.p99_ms),
  }));
}
export type Point = ReturnType<typeof points>[number];

/** A point without neighbours: no line leads to it, so it must be drawn itself. */
export function alone(data: readonly Point[], index: number, name: "p50" | "p95" | "p99"): boolean {
  const is = (i: number) => typeof data[i]?.[name] === "number";
  return is(index) && !is(index - 1) && !is(index + 1);
}

const known = (value: number | undefined) => (value === undefined ? null : Math.round(value * 10) / 10);

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dayClock = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** Steps under an hour are of one day, so that the clock alone tells them apart. */
function axis(step: number): (at: string) => string {
  const format = step < 3600 ? clock : dayClock;
  return (at) => format.format(new Date(at));
}

/** Categories of errors, most first. */
export function errorRows(numbers: Numbers): { category: string; calls: number }[] {
  return Object.entries(numbers.errors ?? {}).filter(([, n]) => n > 0).map(([category, calls]) => ({ category, calls })).toSorted((a, b) => b.calls - a.calls);
}

/** A minute that looks like a loop: many calls, and far more than the others have. */
export function isLoop(calls: number, all: readonly { calls: number }[]): boolean {
  const rest = all.map((b) => b.calls).toSorted((a, b) => a - b);
  const middle = rest[Math.floor((rest.length - 1) / 2)] ?? 0;
  return calls >= 60 && (all.length === 1 || calls >= 3 * middle);
}
