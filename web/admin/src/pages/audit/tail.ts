import type { Schemas } from "~/api/client";

export type AuditEvent = Schemas["AuditEvent"];

/** What a live tail shows: a bounded list, newest first, and what came while it was paused. */
export interface Tail {
  rows: readonly AuditEvent[];
  held: readonly AuditEvent[];
  paused: boolean;
  /** How many were let go because there were too many. */
  dropped: number;
}

export const tailLimit = 1000;
export const noTail: Tail = { rows: [], held: [], paused: false, dropped: 0 };

/** Takes in records in the order in which they came. What is known already (a stream that went on) is left out. */
export function receive(tail: Tail, events: readonly AuditEvent[], limit = tailLimit): Tail {
  const known = new Set([...tail.rows, ...tail.held].map((e) => e.id));
  const fresh: AuditEvent[] = [];
  for (const event of events) {
    if (known.has(event.id)) continue;
    known.add(event.id);
    fresh.push(event);
  }
  if (fresh.length === 0) return tail;
  if (tail.paused) return bound({ ...tail, held: newestFirst([...fresh.toReversed(), ...tail.held]) }, "held", limit);
  return bound({ ...tail, rows: newestFirst([...fresh.toReversed(), ...tail.rows]) }, "rows", limit);
}

export const pause = (tail: Tail): Tail => ({ ...tail, paused: true });

export function resume(tail: Tail, limit = tailLimit): Tail {
  return bound({ ...tail, paused: false, rows: newestFirst([...tail.held, ...tail.rows]), held: [] }, "rows", limit);
}

// Records of several edges may come a little out of order.
const newestFirst = (events: AuditEvent[]) => events.toSorted((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));

function bound(tail: Tail, part: "rows" | "held", limit: number): Tail {
  const over = tail[part].length - limit;
  return over > 0 ? { ...tail, [part]: tail[part].slice(0, limit), dropped: tail.dropped + over } : tail;
}

/** What was recorded before the tail began, below what it brought. */
export function onTop(tail: Tail, before: readonly AuditEvent[]): readonly AuditEvent[] {
  if (tail.rows.length === 0 && tail.held.length === 0) return before;
  const known = new Set([...tail.rows, ...tail.held].map((e) => e.id));
  return [...tail.rows, ...before.filter((e) => !known.has(e.id))].slice(0, tailLimit);
}
