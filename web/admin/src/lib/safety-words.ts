import type { Risk } from "~/ui/risk";
import { exactDay } from "./time";
import { bytes, count, list } from "./words";

// What a tool's spec says of its safety, in words. It is read as it came: a key that a
// newer platform knows is shown as it is rather than left out.

export interface SafetyWords {
  key: string;
  name: string;
  says: string[];
  /** The spec says so; else it is the default. */
  own: boolean;
  /** Less safe than the default. */
  loose?: boolean;
}

type Values = Record<string, unknown>;
const object = (value: unknown): Values | undefined => (typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Values) : undefined);
const text = (value: unknown): string => (typeof value === "string" ? value : typeof value === "number" ? String(value) : "");
const texts = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : typeof value === "string" ? [value] : []);

/** `{rate, burst, concurrency}`: "60/min, 10 at once, 5 at the same time". */
export function limitWords(limit: unknown): string {
  const l = object(limit);
  if (!l) return "";
  const rate = text(l.rate);
  const at = text(l.concurrency);
  return [
    rate === "none" ? "any rate" : rate && `${rate}`,
    l.burst !== undefined && `${text(l.burst)} at once`,
    at && (at === "-1" || at === "none" ? "any number at the same time" : `${at} at the same time`),
  ].filter(Boolean).join(", ");
}

function condition(when: unknown): string {
  const w = object(when);
  if (!w) return "";
  const values = texts(w.in);
  return w.above !== undefined ? `${text(w.argument)} is above ${text(w.above)}` : `${text(w.argument)} is ${values.length > 1 ? `one of ${list(values, 5)}` : values.join("")}`;
}

const whose: [string, string][] = [["tool", "All callers together"], ["user", "Each person"], ["session", "Each session"]];

function limits(value: unknown): string[] {
  const l = object(value);
  return whose.flatMap(([key, who]) => {
    const words = limitWords(l?.[key]);
    return words ? [`${who}: ${words}.`] : [];
  });
}

function idempotency(value: unknown): string[] {
  const i = object(value) ?? {};
  const argument = text(i.argument);
  return [
    `A repeat within ${text(i.keep) || "24h"} gets the first answer and acts no second time.`,
    argument ? `The argument ${argument} holds the caller's key.` : "The key comes with the request, or is derived from the caller and the arguments.",
    ...(i.repeatable === true ? ["The system behind it takes the key, so that a call whose outcome is unknown may run again."] : []),
  ];
}

function confirmation(value: unknown, risk: Risk): string[] {
  const dryRun = "is answered with a dry run first, and runs when the caller confirms it";
  if (value === "never") return ["Never asked for."];
  if (value === "always") return [`Every call ${dryRun}.`];
  const c = object(value);
  if (!c) return [risk === "destructive" ? `Every call ${dryRun}, because it cannot be undone.` : "Not asked for: it is only for what cannot be undone."];
  const when = condition(c.when);
  return [
    when ? `A call where ${when} ${dryRun}.` : `Every call ${dryRun}.`,
    ...(text(c.message) ? [`It says: “${text(c.message)}”`] : []),
    ...(text(c.expires) ? [`Good for ${text(c.expires)}.`] : []),
  ];
}

function approval(value: unknown): string[] {
  const a = object(value);
  if (!a) return [];
  const when = condition(a.when);
  return [
    `Somebody else with the role ${text(a.role)} decides ${when ? `calls where ${when}` : "every call"}.`,
    text(a.wait) && text(a.wait) !== "0s" ? `The call waits ${text(a.wait)} for it, then answers that it is pending.` : "The call answers at once that it is pending.",
    `A request is good for ${text(a.expires) || "1h"}.`,
    ...(text(a.message) ? [`Who decides reads: “${text(a.message)}”`] : []),
  ];
}

const maskNames: Record<string, string> = { email: "e-mail addresses", phone: "phone numbers", card: "card numbers", iban: "IBANs", national_id: "national ids" };
const rules: Record<string, string> = { hide: "hidden", partial: "shown in part", hash: "shown as a hash" };

function guard(value: unknown): string[] {
  const g = object(value) ?? {};
  const untrusted = texts(g.untrusted);
  const whole = object(g.mask_fields) ?? {};
  const renamed = Object.entries(object(g.rename) ?? {});
  return [
    texts(g.fields).length > 0 && `Only these fields leave: ${list(texts(g.fields), 8)}.`,
    renamed.length > 0 && `Renamed: ${list(renamed.map(([from, to]) => `${from} to ${text(to)}`), 5)}.`,
    texts(g.mask).length > 0 && `Masked in every text: ${list(texts(g.mask).map((m) => maskNames[m] ?? m))}.`,
    Object.keys(whole).length > 0 && `Masked whole: ${list(Object.entries(whole).map(([field, rule]) => `${field}, ${rules[text(rule)] ?? text(rule)}`), 6)}.`,
    untrusted.length > 0 && (untrusted.includes("all") || untrusted.includes("*") ? "Every text is marked as untrusted." : `Marked as untrusted: ${list(untrusted, 6)}.`),
    g.secrets === "off" ? "The scan for credentials is off." : "Credentials are withheld.",
    g.injection === "off" ? "Instructions to the model are not flagged." : "Instructions to the model are flagged.",
    `Up to ${bytes(typeof g.max_bytes === "number" ? g.max_bytes : 65_536)}${typeof g.max_rows === "number" ? ` and ${count(g.max_rows, "row")}` : ""} inline; more becomes a summary and a link.`,
  ].filter((part): part is string => typeof part === "string");
}

const day = (value: unknown) => (/^\d{4}-\d\d-\d\d/.test(text(value)) ? exactDay(text(value).slice(0, 10)) : text(value));

function version(safety: Values): string[] {
  const replaces = object(safety.replaces);
  return [
    `Version ${text(safety.version) || "1"}.`,
    ...(replaces ? [`It takes the place of version ${text(replaces.version)}; sessions that listed that one go on with it until ${day(replaces.sunset)}.`] : []),
  ];
}

function deprecation(value: unknown): string[] {
  const d = object(value);
  if (!d) return [];
  return [
    `Deprecated since ${day(d.since)}; it ends on ${day(d.sunset)}.`,
    ...(text(d.successor) ? [`Its successor is ${text(d.successor)}.`] : []),
    ...(text(d.message) ? [text(d.message)] : []),
  ];
}

/** Every part of a tool's safety, with the defaults where the spec says nothing. */
export function safetyWords(safety: Values | undefined, risk: Risk, defaults: { version?: number } = {}): SafetyWords[] {
  const s: Values = safety ?? {};
  const own = (key: string) => s[key] !== undefined && s[key] !== null;
  const g = object(s.guard);
  const parts: SafetyWords[] = [
    { key: "limits", name: "Limits", says: own("limits") ? [...limits(s.limits), "The tenant's limits hold as well."] : ["The tenant's limits."], own: own("limits") },
    { key: "idempotency", name: "Done once", says: risk === "read" && !own("idempotency") ? ["It only reads, so a repeat does no harm."] : idempotency(s.idempotency), own: own("idempotency") },
    { key: "confirm", name: "Confirmation", says: confirmation(s.confirm, risk), own: own("confirm"), loose: risk === "destructive" && s.confirm === "never" },
    { key: "approval", name: "Approval", says: own("approval") ? approval(s.approval) : ["Not needed."], own: own("approval") },
    s.guard === "off"
      ? { key: "guard", name: "What may leave", says: ["The guard is off: results leave as they are."], own: true, loose: true }
      : { key: "guard", name: "What may leave", says: guard(s.guard), own: own("guard"), loose: g?.secrets === "off" || g?.injection === "off" },
    { key: "version", name: "Version", says: version({ version: defaults.version, ...s }), own: own("version") || own("replaces") },
    { key: "deprecated", name: "Deprecation", says: own("deprecated") ? deprecation(s.deprecated) : ["It stays."], own: own("deprecated") },
  ];
  const known = new Set(["limits", "idempotency", "confirm", "approval", "guard", "version", "replaces", "deprecated"]);
  for (const [key, value] of Object.entries(s)) if (!known.has(key)) parts.push({ key, name: key, says: [JSON.stringify(value)], own: true });
  return parts;
}

/** What to begin with when a key is added; each is something the platform takes. */
export const safetyExamples: Record<string, unknown> = {
  limits: { tool: { rate: "60/min", concurrency: 5 }, user: { rate: "10/min", message: "Wait for the last one to finish." } },
  idempotency: { keep: "24h" },
  confirm: "always",
  approval: { role: "admin", expires: "1h", wait: "30s" },
  guard: { mask: ["email", "phone", "card", "iban"], untrusted: "all" },
  version: 2,
  replaces: { version: 1, sunset: "2027-01-31" },
  deprecated: { since: "2026-12-01", sunset: "2027-01-31", successor: "another_tool" },
};

/** What to send so that `before` becomes `after`: what differs, and null for what goes. */
export function safetyPatch(before: Values, after: Values): Values {
  const out: Values = {};
  for (const [key, value] of Object.entries(after)) if (JSON.stringify(before[key]) !== JSON.stringify(value)) out[key] = value;
  for (const key of Object.keys(before)) if (!(key in after)) out[key] = null;
  return out;
}
