import { Badge, Group } from "@mantine/core";
import type { Schemas } from "~/api/client";
import { exactDay } from "~/lib/time";

/** What of a tool's safety one should see in a list: that it is going, which version it is, who must agree. */
export function ToolMarks({ tool: t }: { tool: Pick<Schemas["Tool"], "version" | "deprecated" | "confirmed" | "safety"> }) {
  const approval = t.safety?.approval !== undefined && t.safety.approval !== null;
  if (!t.deprecated && !approval && !t.confirmed && (t.version ?? 1) === 1) return null;
  return (
    <Group gap={4} mt={3}>
      {t.deprecated && <Badge color={t.deprecated.gone ? "gray" : "amber"}>{t.deprecated.gone ? "gone" : `until ${exactDay(t.deprecated.sunset)}`}</Badge>}
      {(t.version ?? 1) > 1 && <Badge>version {t.version}</Badge>}
      {approval && <Badge color="accent">needs approval</Badge>}
      {t.confirmed && <Badge color="accent">confirmed</Badge>}
    </Group>
  );
}
