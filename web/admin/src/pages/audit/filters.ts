import type { Schemas } from "~/api/client";
import { categoryLabel } from "~/lib/codes";
import { exactTime } from "~/lib/time";
import { outcomes } from "~/ui/outcome";

/** What stands in the page's URL. */
export interface AuditSearch {
  range?: Range;
  since?: string;
  until?: string;
  server?: string;
  tool?: string;
  member?: string;
  client?: string;
  grant?: string;
  outcome?: Schemas["Outcome"];
  category?: Schemas["Category"];
  code?: string;
  method?: "tools/call" | "resources/read" | "api";
  call?: string;
  event?: string;
  live?: boolean;
}
export type Range = "15m" | "1h" | "24h" | "7d" | "30d";

export const ranges: Record<Range, { label: string; ms: number }> = {
  "15m": { label: "Last 15 minutes", ms: 900_000 },
  "1h": { label: "Last hour", ms: 3_600_000 },
  "24h": { label: "Last 24 hours", ms: 86_400_000 },
  "7d": { label: "Last 7 days", ms: 7 * 86_400_000 },
  "30d": { label: "Last 30 days", ms: 30 * 86_400_000 },
};

/** Filters by what a record is about; the time is apart, the live tail has none. */
export const aspects = ["server", "tool", "member", "client", "grant", "outcome", "category", "code", "method", "call"] as const;
export type Aspect = (typeof aspects)[number];

export type AspectQuery = Pick<AuditSearch, Aspect>;
export type AuditQuery = AspectQuery & { since?: string; until?: string };

const grantId = /^gr[a-z0-9]{18}$/;
const slug = /^[a-z][a-z0-9-]{0,38}[a-z0-9]$/;
const codeName = /^[a-z_]{1,60}$/;

/** The filters that the API would not take, in words: it refuses a bad one rather than finding nothing. */
export function badFilters(search: AuditSearch): string[] {
  const out: string[] = [];
  if (search.server && !slug.test(search.server)) out.push(`“${search.server}” cannot be a server.`);
  if (search.grant && !grantId.test(search.grant)) out.push(`“${search.grant}” cannot be a grant; its id begins with gr.`);
  if (search.code && !codeName.test(search.code)) out.push(`“${search.code}” cannot be a code; codes are small letters and underscores.`);
  if (search.since && search.until && search.since >= search.until) out.push("The time ends before it begins.");
  return out;
}

export function aspectQuery(search: AuditSearch): AspectQuery {
  return Object.fromEntries(aspects.flatMap((a) => (search[a] ? [[a, search[a]]] : [])));
}

/** What to ask the API for; `now` is when the list was begun, so that all its pages are of one time. */
export function auditQuery(search: AuditSearch, now: number): AuditQuery {
  const query: AuditQuery = aspectQuery(search);
  if (search.range) query.since = new Date(now - ranges[search.range].ms).toISOString();
  else {
    if (search.since) query.since = search.since;
    if (search.until) query.until = search.until;
  }
  return query;
}

/** "Last hour", "3 Mar 2025, 14:00 to …", "Any time". */
export function timeWords({ range, since, until }: AuditSearch): string {
  if (range) return ranges[range].label;
  if (since && until) return `${exactTime(since)} to ${exactTime(until)}`;
  if (since) return `Since ${exactTime(since)}`;
  return until ? `Before ${exactTime(until)}` : "Any time";
}

const names: Record<Aspect, string> = {
  server: "Server", tool: "Tool", member: "Person", client: "Client", grant: "Grant", outcome: "Outcome", category: "Category", code: "Code", method: "Method", call: "Call",
};
export const aspectName = (aspect: Aspect) => names[aspect];

export const methods = [
  { value: "tools/call", label: "Tool calls" },
  { value: "resources/read", label: "Resources read" },
  { value: "api", label: "Changes by API or console" },
];

export function aspectValue(aspect: Aspect, value: string): string {
  if (aspect === "outcome") return outcomes[value as keyof typeof outcomes]?.label ?? value;
  if (aspect === "category") return categoryLabel(value);
  if (aspect === "method") return methods.find((m) => m.value === value)?.label ?? value;
  return value;
}

/** Address of the export that has what the list shows. */
export function exportURL(api: string, tenant: string, format: "ndjson" | "csv", query: AuditQuery): string {
  const params = new URLSearchParams({ format, ...query });
  return `${api}/tenants/${tenant}/audit/export?${params}`;
}

/** A `datetime-local` value in the browser's zone, and back. */
export function toLocalInput(iso: string | undefined): string {
  if (!iso) return "";
  const at = new Date(iso);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
export function fromLocalInput(text: string): string | undefined {
  const at = text ? new Date(text) : undefined;
  return at && !Number.isNaN(at.getTime()) ? at.toISOString() : undefined;
}
