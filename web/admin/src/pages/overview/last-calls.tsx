import { Badge, Text } from "@mantine/core";
import { IconActivity } from "@tabler/icons-react";
import type { UseQueryResult } from "@tanstack/react-query";
import type { Schemas } from "~/api/client";
import { duration } from "~/lib/time";
import { TextLink } from "~/ui/link";
import { Section } from "~/ui/section";
import { EmptyState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import classes from "./overview.module.css";

type Event = Schemas["AuditEvent"];

const outcomes: Record<Event["outcome"], [label: string, color: string]> = {
  done: ["Done", "green"], failed: ["Failed", "red"], refused: ["Refused", "amber"], unknown: ["Unknown", "red"], pending: ["Running", "gray"],
};

export function LastCalls({ query }: { query: UseQueryResult<Event[]> }) {
  return (
    <Section title="Last calls" actions={<TextLink to="/audit" fz="sm">All records</TextLink>} padded={false}>
      <Loaded query={query} rows={4}>
        {(events) => events.length === 0 ? <EmptyState compact icon={IconActivity} title="No call yet">Every call stands here the moment it ends, allowed or refused.</EmptyState> : (
          <ul className={classes.items}>
            {events.map((e) => (
              <li key={e.id} className={classes.call}>
                <Badge color={outcomes[e.outcome][1]} w={72}>{outcomes[e.outcome][0]}</Badge>
                <span className={classes.itemWords}>
                  <span><span className="mono">{e.tool}</span> <Text span size="sm" c="dimmed">on {e.server}{e.code && `, ${e.code}`}</Text></span>
                  <span className={classes.itemDetail}>{[e.member, e.client_name && `through ${e.client_name}`].filter(Boolean).join(" ")}</span>
                </span>
                <span className={classes.when}><RelativeTime at={e.at} /><span className={classes.latency}>{e.latency_ms === undefined ? "" : duration(e.latency_ms)}</span></span>
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </Section>
  );
}
