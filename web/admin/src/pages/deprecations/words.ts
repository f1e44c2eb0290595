import type { Schemas } from "~/api/client";
import { count } from "~/lib/words";

const day = 86_400_000;

/** How long it goes on, and whether that should worry somebody. */
export function leftOf({ sunset, gone }: Pick<Schemas["Deprecation"], "sunset" | "gone">, calls: number, now: number): { label: string; color: "gray" | "red" | "amber" | "accent" } {
  if (gone) return { label: "Gone", color: "gray" };
  const days = Math.ceil((Date.parse(sunset) - now) / day);
  const label = days <= 0 ? "Goes today" : days === 1 ? "Goes within a day" : days < 60 ? `${count(days, "day")} left` : `${Math.floor(days / 30)} months left`;
  return { label, color: days <= 14 ? (calls > 0 ? "red" : "amber") : "accent" };
}
