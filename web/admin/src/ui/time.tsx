import { useSyncExternalStore } from "react";
import { Tooltip } from "@mantine/core";
import { ago, exactTime, span } from "~/lib/time";

/** One clock for all times on a page that are told in the same steps. */
function clock(step: number) {
  let now = Date.now();
  const listeners = new Set<() => void>();
  let timer: ReturnType<typeof setInterval> | undefined;
  return {
    now: () => now,
    subscribe: (listener: () => void) => {
      listeners.add(listener);
      now = Date.now();
      timer ??= setInterval(() => {
        now = Date.now();
        for (const each of listeners) each();
      }, step);
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) {
          clearInterval(timer);
          timer = undefined;
        }
      };
    },
  };
}
const slow = clock(30_000);
const seconds = clock(1000);

/** The time, every second. */
export const useNow = () => useSyncExternalStore(seconds.subscribe, seconds.now);

export function RelativeTime({ at, never = "never" }: { at: string | null | undefined; never?: string }) {
  const now = useSyncExternalStore(slow.subscribe, slow.now);
  if (!at) return <span>{never}</span>;
  return (
    <Tooltip label={exactTime(at)}>
      <time dateTime={at} className="num nowrap">{ago(at, now)}</time>
    </Tooltip>
  );
}

/** A countdown: "4 min 10 s left". */
export function TimeLeft({ until, over = "over" }: { until: string; over?: string }) {
  const left = Date.parse(until) - useNow();
  return (
    <Tooltip label={exactTime(until)}>
      <time dateTime={until} className="num nowrap">{left > 0 ? `${span(left)} left` : over}</time>
    </Tooltip>
  );
}
