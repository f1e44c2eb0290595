import { Alert, Badge, Text, Tooltip } from "@mantine/core";
import { IconHeartBroken } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { Schemas } from "~/api/client";
import { healthQuery } from "~/api/upstreams";
import { duration, exactTime } from "~/lib/time";
import { count } from "~/lib/words";
import { Facts } from "~/ui/facts";
import { Section } from "~/ui/section";
import { Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";

export type State = Schemas["ServerState"];

export const states: Record<State, { label: string; color: string; says: string }> = {
  healthy: { label: "Healthy", color: "green", says: "The last check was answered. Calls go through." },
  degraded: { label: "Degraded", color: "amber", says: "The last check failed or was slow. Calls go through." },
  unhealthy: { label: "Unhealthy", color: "red", says: "Several checks failed in a row. Calls are refused at once until one is answered." },
  idle: { label: "Idle", color: "gray", says: "Nothing runs at the moment. The next call starts it." },
  unknown: { label: "Not checked", color: "gray", says: "Nobody has looked. Calls go through." },
};

export function HealthBadge({ state, quiet }: { state: State; quiet?: boolean }) {
  const { label, color, says } = states[state];
  if (quiet && state === "unknown") return <Text span size="sm" c="dimmed">not checked</Text>;
  return <Tooltip label={says} multiline maw={280}><Badge color={color} tabIndex={0}>{label}</Badge></Tooltip>;
}

/** Whether the server answers, since when, and what went wrong last. */
export function HealthSection({ server }: { server: string }) {
  const query = useQuery(healthQuery(server));
  return (
    <Section title="Does it answer?">
      <Loaded query={query} rows={3}>{(h) => <Health health={h} />}</Loaded>
    </Section>
  );
}

function Health({ health: h }: { health: Schemas["ServerHealth"] }) {
  const { label, color, says } = states[h.status];
  const failing = h.status === "unhealthy" || h.status === "degraded";
  return (
    <>
      {failing && h.last_failure && (
        <Alert color={color} mb="sm" icon={<IconHeartBroken aria-hidden />} title={h.failures > 1 ? `${count(h.failures, "check")} failed in a row` : "The last check failed"}>
          {h.last_failure.message} <Text span size="xs" c="dimmed">Callers are told only that the server does not answer.</Text>
        </Alert>
      )}
      <Facts label="Health" facts={[
        ["State", <div key="state"><Badge color={color}>{label}</Badge> {h.checked_at && <Text span size="sm" c="dimmed">{says}</Text>}</div>],
        ["Since", h.since && <span key="since"><RelativeTime at={h.since} /> <Text span size="xs" c="dimmed">{exactTime(h.since)}</Text></span>],
        ["Last checked", h.checked_at && <RelativeTime key="checked" at={h.checked_at} />],
        ["Last answer", h.last_ok_at && <span key="ok"><RelativeTime at={h.last_ok_at} />{h.latency_ms !== undefined && <> in <span className="num">{duration(h.latency_ms)}</span></>}</span>],
        ["Last failure", h.last_failure && !failing && <span key="failure">{h.last_failure.at && <><RelativeTime at={h.last_failure.at} />: </>}{h.last_failure.message}</span>],
        ["Speaks", h.protocol && `MCP ${h.protocol}`],
      ]} />
    </>
  );
}
