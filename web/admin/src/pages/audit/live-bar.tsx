import { Button, Group, Text } from "@mantine/core";
import { IconPlayerPause, IconPlayerPlay, IconRefresh } from "@tabler/icons-react";
import { explain } from "~/api/problem";
import { count } from "~/lib/words";
import type { Tail } from "./tail";
import type { LineState } from "./use-tail";
import classes from "./live-bar.module.css";

interface Props {
  tail: Tail;
  line: LineState;
  onPause: () => void;
  onResume: () => void;
  onRetry: () => void;
}

/** Whether the line is open, and what waits while the list is paused. */
export function LiveBar({ tail, line, onPause, onResume, onRetry }: Props) {
  return (
    <Group className={classes.bar} justify="space-between" gap="xs">
      <Text size="sm" component="div" role="status" className={classes.state} data-state={tail.paused ? "paused" : line.is}>
        <span className={classes.dot} aria-hidden />
        {words(line, tail)}
      </Text>
      <Group gap="xs">
        {(line.is === "waiting" || line.is === "failed") && <Button variant="default" leftSection={<IconRefresh size={15} aria-hidden />} onClick={onRetry}>Connect now</Button>}
        {tail.paused ? (
          <Button leftSection={<IconPlayerPlay size={15} aria-hidden />} onClick={onResume}>{tail.held.length > 0 ? `Show ${count(tail.held.length, "new record")}` : "Go on"}</Button>
        ) : (
          <Button variant="default" leftSection={<IconPlayerPause size={15} aria-hidden />} onClick={onPause}>Pause</Button>
        )}
      </Group>
    </Group>
  );
}

function words(line: LineState, tail: Tail): string {
  const paused = tail.paused ? `Paused; ${tail.held.length === 0 ? "nothing new yet" : `${count(tail.held.length, "record")} waiting`}.` : "";
  switch (line.is) {
    case "connecting": return "Connecting";
    case "open": return paused || "Live: records appear as they are made.";
    case "waiting": return `The line was lost and is being opened again; nothing will be missed. ${paused}`;
    case "failed": return explain(line.error).detail || explain(line.error).title;
  }
}
