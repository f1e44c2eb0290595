import type { Schemas } from "~/api/client";
import type { Approval, SafetyEvent, Switch } from "~/api/safety";
import { explainEvent } from "~/lib/event-kinds";
import { ago } from "~/lib/time";
import { count, list } from "~/lib/words";

/** What the page has read. What the person may not read stays undefined and raises nothing. */
export interface Known {
  servers?: readonly Schemas["Server"][];
  unopened?: readonly Schemas["Scope"][];
  members?: readonly Schemas["Member"][];
  keys?: readonly Schemas["APIKey"][];
  connections?: readonly Schemas["Connection"][];
  denied?: { count: number; more: boolean };
  events?: readonly SafetyEvent[];
  approvals?: readonly Approval[];
  switches?: readonly Switch[];
  deprecations?: readonly Schemas["DeprecatedTool"][];
  /** Servers whose upstream offers something else than was agreed to. */
  changed?: readonly { server: string; changes: number }[];
  /** Servers whose account at the upstream has expired. */
  expired?: readonly { server: string; failure?: string }[];
}

export interface Item {
  key: string;
  grave: boolean;
  title: string;
  detail: string;
  /** Where to do something about it. */
  to: { to: "/servers/$server"; server: string; tab?: "revisions" | "connection" | "changes"; revision?: number } | { to: "/access" | "/people" | "/api-keys" | "/approvals" | "/switches" | "/deprecations" } | { to: "/events"; open: "yes" } | { to: "/approvals/$approval"; approval: string } | { to: "/audit"; outcome: "refused" };
}

const day = 86_400_000;

/** What needs attention, the gravest first. */
export function attention(known: Known, now: number): Item[] {
  const items: Item[] = [];

  for (const s of (known.switches ?? []).filter((each) => each.on)) {
    items.push({ key: `switch ${s.target}`, grave: true, title: s.kind === "tenant" ? "Every tool is switched off" : `${s.name || s.target} is switched off`, detail: `By ${s.by}: ${s.reason}`, to: { to: "/switches" } });
  }

  for (const s of known.servers ?? []) {
    if (s.health === "unhealthy") items.push({ key: `health ${s.slug}`, grave: true, title: `${s.title || s.slug} does not answer`, detail: "Its calls are refused until a check is answered.", to: { to: "/servers/$server", server: s.slug } });
  }

  for (const c of known.changed ?? []) {
    items.push({ key: `changed ${c.server}`, grave: true, title: `The upstream of ${c.server} changed`, detail: `${count(c.changes, "change waits", "changes wait")} for a decision; calls of what changed are refused.`, to: { to: "/servers/$server", server: c.server, tab: "changes" } });
  }

  for (const a of known.expired ?? []) {
    items.push({ key: `account ${a.server}`, grave: true, title: `Connect the account of ${a.server} again`, detail: a.failure || "Its upstream renews it no more, so calls fail.", to: { to: "/servers/$server", server: a.server, tab: "connection" } });
  }

  const critical = (known.events ?? []).filter((e) => e.severity === "critical" && !e.acknowledged_at);
  for (const e of critical.slice(0, 3)) items.push({ key: `event ${e.id}`, grave: true, title: explainEvent(e.kind).label, detail: e.detail, to: { to: "/events", open: "yes" } });
  if (critical.length > 3) items.push({ key: "events", grave: true, title: `${count(critical.length - 3, "more critical event")} open`, detail: "Look at them, then say that somebody has.", to: { to: "/events", open: "yes" } });

  const mine = (known.approvals ?? []).filter((a) => a.status === "pending" && a.may_decide && Date.parse(a.expires_at) > now);
  const first = mine.toSorted((a, b) => a.expires_at.localeCompare(b.expires_at))[0];
  if (first) {
    items.push(mine.length === 1
      ? { key: "approval", grave: true, title: `${first.member} waits for your approval`, detail: `${first.title || first.tool} on ${first.server}; it expires ${ago(first.expires_at, now)}.`, to: { to: "/approvals/$approval", approval: first.id } }
      : { key: "approval", grave: true, title: `${count(mine.length, "call waits", "calls wait")} for your approval`, detail: `The first expires ${ago(first.expires_at, now)}.`, to: { to: "/approvals" } });
  }

  for (const d of known.deprecations ?? []) {
    const left = Date.parse(d.deprecation.sunset) - now;
    if (d.deprecation.gone || d.calls === 0 || left > 30 * day) continue;
    items.push({ key: `sunset ${d.server} ${d.tool} ${d.version}`, grave: left < 7 * day, title: `${d.title || d.tool} goes ${left < day ? "within a day" : `in ${count(Math.floor(left / day), "day")}`} and is still called`, detail: `${count(d.calls, "call")} in 7 days by ${d.members.length > 0 ? list(d.members, 2) : "somebody"}.`, to: { to: "/deprecations" } });
  }

  for (const c of known.connections ?? []) {
    if (!c.last_failed_at || (c.last_issued_at && c.last_issued_at > c.last_failed_at)) continue;
    items.push({ key: `connection ${c.server}`, grave: true, title: `${c.server} cannot get credentials`, detail: c.last_failure || "The last try failed.", to: { to: "/servers/$server", server: c.server, tab: "connection" } });
  }

  for (const s of known.servers ?? []) {
    if (s.status === "draft" && s.discovering) {
      items.push({ key: `discovered ${s.slug}`, grave: false, title: `${s.title || s.slug} is being discovered`, detail: "It is published by itself when its upstream has said what it offers.", to: { to: "/servers/$server", server: s.slug, tab: "changes" } });
    } else if (s.status === "draft") {
      items.push({ key: `draft ${s.slug}`, grave: false, title: `${s.title || s.slug} is a draft`, detail: "Nobody sees it before a revision is published.", to: { to: "/servers/$server", server: s.slug, tab: "revisions" } });
    } else if (s.latest_revision && s.active_revision && s.latest_revision > s.active_revision) {
      items.push({ key: `staged ${s.slug}`, grave: false, title: `${s.title || s.slug} has a staged revision`, detail: `Revision ${s.latest_revision} waits; clients get ${s.active_revision}.`, to: { to: "/servers/$server", server: s.slug, tab: "revisions", revision: s.latest_revision } });
    }
  }

  const unopened = known.unopened ?? [];
  if (unopened.length > 0) {
    items.push({ key: "unopened", grave: false, title: `No role opens ${count(unopened.length, "scope")}`, detail: list(unopened.map((s) => `${s.scope} on ${s.server}`), 2), to: { to: "/access" } });
  }

  const idle = (known.members ?? []).filter((m) => m.roles.length === 0 && !m.disabled);
  if (idle.length > 0) {
    items.push({ key: "idle", grave: false, title: `${count(idle.length, "person has", "people have")} no role`, detail: `${list(idle.map((m) => m.email), 2)} can sign in and call nothing.`, to: { to: "/people" } });
  }

  for (const k of known.keys ?? []) {
    if (k.revoked_at || !k.expires_at) continue;
    const left = Date.parse(k.expires_at) - now;
    if (left < 0 || left > 14 * day) continue;
    items.push({ key: `key ${k.id}`, grave: left < 3 * day, title: `The API key ${k.name} expires ${left < day ? "within a day" : `in ${count(Math.floor(left / day), "day")}`}`, detail: "Make a new one before scripts stop.", to: { to: "/api-keys" } });
  }

  if (known.denied && known.denied.count > 0) {
    const { count: n, more } = known.denied;
    items.push({ key: "denied", grave: false, title: `${more ? "More than " : ""}${count(n, "call was", "calls were")} refused within a day`, detail: "Somebody wants what they may not use, or an agent tries its luck.", to: { to: "/audit", outcome: "refused" } });
  }

  return items.toSorted((a, b) => Number(b.grave) - Number(a.grave));
}
