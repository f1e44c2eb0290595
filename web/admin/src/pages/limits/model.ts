import { z } from "zod";
import type { Schemas } from "~/api/client";

type Limits = Schemas["CallLimits"];
type Limit = Schemas["CallLimit"];

export const groups = {
  tenant: { label: "The tenant", says: "All calls of everybody together." },
  user: { label: "Each person", says: "At all servers, through all their apps." },
  session: { label: "Each session", says: "One app of one person: where a loop runs." },
  tool: { label: "Each tool", says: "Whoever calls it." },
} as const;
export type Group = keyof typeof groups;
export const groupNames = Object.keys(groups) as Group[];

/** As they are typed; empty means the platform's default. */
export interface LimitValues {
  rate: string;
  burst: string;
  concurrency: string;
  message: string;
}
export interface Values extends Record<Group, LimitValues> {
  fan_out: { calls: string };
  repeats: { notice: string; refuse: string };
}

const ratePattern = /^([1-9][0-9]{0,6}\/(s|min|h|d)|none)$/;
const whole = (high: number, off?: string) => z.string().trim().refine((v) => v === "" || v === off || (/^[0-9]{1,7}$/.test(v) && Number(v) >= 1 && Number(v) <= high), off ? `A whole number from 1 to ${high.toLocaleString("en")}, or ${off}` : `A whole number from 1 to ${high.toLocaleString("en")}`);
const limit = z.object({
  rate: z.string().trim().refine((v) => v === "" || ratePattern.test(v), "Such as 60/min (with s, min, h or d), or none"),
  burst: whole(1_000_000),
  concurrency: whole(100_000, "any"),
  message: z.string().max(300, "At most 300 characters"),
});
export const schema = z.object({
  tenant: limit, user: limit, session: limit, tool: limit,
  fan_out: z.object({ calls: whole(1_000_000, "never") }),
  repeats: z.object({ notice: whole(1_000_000, "never"), refuse: whole(1_000_000, "never") }),
});

const number = (n: number | undefined, off: string): string => (n === undefined || n === 0 ? "" : n < 0 ? off : String(n));
const limitValues = (l: Limit | undefined): LimitValues => ({ rate: l?.rate ?? "", burst: number(l?.burst, ""), concurrency: number(l?.concurrency, "any"), message: l?.message ?? "" });

export const valuesOf = (l: Limits): Values => ({
  tenant: limitValues(l.tenant), user: limitValues(l.user), session: limitValues(l.session), tool: limitValues(l.tool),
  fan_out: { calls: number(l.fan_out?.calls, "never") },
  repeats: { notice: number(l.repeats?.notice, "never"), refuse: number(l.repeats?.refuse, "never") },
});

const given = (text: string, off: string): number | undefined => (text.trim() === "" ? undefined : text.trim() === off ? -1 : Number(text));

/** Leaves out what is empty, so that the platform's default holds. */
function compact<T extends object>(values: T): T | undefined {
  const entries = Object.entries(values).filter(([, v]) => v !== undefined && v !== "");
  return entries.length > 0 ? (Object.fromEntries(entries) as T) : undefined;
}

export function limitsOf(v: Values): Limits {
  const one = (l: LimitValues) => compact<Limit>({ rate: l.rate.trim(), burst: given(l.burst, ""), concurrency: given(l.concurrency, "any"), message: l.message.trim() });
  return compact<Limits>({
    tenant: one(v.tenant), user: one(v.user), session: one(v.session), tool: one(v.tool),
    fan_out: compact({ calls: given(v.fan_out.calls, "never") }),
    repeats: compact({ notice: given(v.repeats.notice, "never"), refuse: given(v.repeats.refuse, "never") }),
  }) ?? {};
}

/** Paths of the form's fields, as the platform's problems name them. */
export const fields = [...groupNames.flatMap((g) => (["rate", "burst", "concurrency", "message"] as const).map((f) => `${g}.${f}`)), "fan_out.calls", "repeats.notice", "repeats.refuse"];

export const stores: Record<Schemas["LimitsState"]["store"], { label: string; color: string; says: string }> = {
  memory: { label: "In each edge", color: "gray", says: "Each edge of the platform counts for itself. With one edge that is exact; with several, each lets that many through." },
  valkey: { label: "In Valkey", color: "green", says: "All edges count together, so a limit holds over all of them." },
  degraded: { label: "In each edge, because Valkey is away", color: "amber", says: "All edges would count together in Valkey, which does not answer. Until it does, each counts for itself and lets that many through. Tell whoever runs the platform." },
};
