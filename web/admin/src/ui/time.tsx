import { useSyncExternalStore } from "react";
import { Tooltip } from "@mantine/core";
import { ago, exactTime } from "~/lib/time";

// One clock for all relative times on a page.
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
function subscribe(listener: () => void) {
  listeners.add(listener);
  now = Date.now();
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, 30_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

export function RelativeTime({ at, never = "never" }: { at: string | null | undefined; never?: string }) {
  const clock = useSyncExternalStore(subscribe, () => now);
  if (!at) return <span>{never}</span>;
  return (
    <Tooltip label={exactTime(at)}>
      <time dateTime={at} className="num nowrap">{ago(at, clock)}</time>
    </Tooltip>
  );
}
