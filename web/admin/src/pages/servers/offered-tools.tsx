import { Group, Text } from "@mantine/core";
import type { Schemas } from "~/api/client";
import { count } from "~/lib/words";
import { RiskMark } from "~/ui/risk";
import classes from "./check-result.module.css";

/** Tools by name with their risks and scopes, in a box. */
export function OfferedTools({ tools, label, says = "" }: { tools: readonly Pick<Schemas["Tool"], "name" | "title" | "risk" | "scope">[]; label: string; says?: string }) {
  return (
    <section className={classes.result} aria-label={label}>
      <Group className={classes.head}><Text size="sm" fw={550}>{count(tools.length, "tool")}{says}</Text></Group>
      {tools.length > 0 && (
        // Many scroll within the box, and are then reached by keyboard.
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
        <ul className={classes.tools} tabIndex={tools.length > 12 ? 0 : undefined}>
          {tools.map((t) => <li key={t.name}><RiskMark risk={t.risk} bare /><span className={classes.name}>{t.title || t.name}</span><span className="mono">{t.scope}</span></li>)}
        </ul>
      )}
    </section>
  );
}
