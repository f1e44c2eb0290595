const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000], ["month", 2_592_000], ["week", 604_800], ["day", 86_400], ["hour", 3600], ["minute", 60],
];

/** "3 minutes ago", "in 2 days", "just now". */
export function ago(when: string | Date, now = Date.now()): string {
  const seconds = (new Date(when).getTime() - now) / 1000;
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return seconds > 5 ? "in a moment" : "just now";
}

export const exactTime = (when: string | Date) => exact.format(new Date(when));
export const exactDay = (when: string | Date) => day.format(new Date(when));

/** "840 ms", "1.2 s", "2 min 5 s". */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(ms < 10_000 ? 1 : 0))} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** For rows of a log: "14:03:22" today, "3 Mar, 14:03:22" before. */
export function logTime(when: string, now = new Date()): string {
  const at = new Date(when);
  return at.toDateString() === now.toDateString() ? clock.format(at) : dayAndClock.format(at);
}

/** "3 days 4 h", "2 h 10 min", "4 min 10 s", "42 s": the two largest units. */
export function span(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const units: [number, string][] = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const from = Math.min(units.findIndex(([size]) => s >= size) >>> 0, 3);
  return units.slice(from, from + 2).flatMap(([size, unit], at) => {
    const n = Math.floor((at === 0 ? s : s % units[from]![0]) / size);
    return at > 0 && n === 0 ? [] : [`${n} ${unit}`];
  }).join(" ");
}
