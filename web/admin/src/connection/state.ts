import type { Schemas } from "~/api/client";

/** Whether credentials can be issued, as far as the last attempts tell. */
export function stateOf(c: Pick<Schemas["Connection"], "last_issued_at" | "last_failed_at">): { label: string; color: string; failing: boolean } {
  if (c.last_failed_at && (!c.last_issued_at || c.last_failed_at > c.last_issued_at)) return { label: "Failing", color: "red", failing: true };
  if (c.last_issued_at) return { label: "Works", color: "green", failing: false };
  return { label: "Not used yet", color: "gray", failing: false };
}
