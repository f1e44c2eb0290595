import { Group, Loader, Stack, Text } from "@mantine/core";
import { IconCircleCheck } from "@tabler/icons-react";
import { count } from "~/lib/words";
import { BreakingList, changeClasses, ClassBadge, Findings } from "~/ui/change-class";
import { RiskMark } from "~/ui/risk";
import { ErrorState } from "~/ui/states";
import type { useCheck } from "./use-check";
import classes from "./check-result.module.css";

/** What the spec in the editor would offer. With `upstream`, what that is may not be known yet. */
export function CheckResult({ state, upstream }: { state: ReturnType<typeof useCheck>; upstream?: boolean }) {
  const { query, check, current } = state;
  if (query.isError) return <ErrorState error={query.error} onRetry={() => void query.refetch()} />;
  return (
    <Stack gap="sm">
      <section className={classes.result} aria-label="What it offers">
        <Group gap="xs" className={classes.head} role="status">
          {!current ? <><Loader size={14} aria-hidden /><Text size="sm" c="dimmed">Checking</Text></> : check!.ok ? (
            <><IconCircleCheck size={16} aria-hidden className={classes.good} /><Text size="sm" fw={550}>{upstream && check!.tools.length === 0 ? "Nothing stands against it" : <>{count(check!.tools.length, "tool")}, {count(check!.scopes.length, "scope")}</>}</Text></>
          ) : <Text size="sm" c="var(--lk-bad)" fw={550}>{count(check!.problems.length, "problem")} to correct</Text>}
        </Group>
        {check?.ok && check.diff?.class && !check.diff.same && <div className={classes.class}><ClassBadge of={check.diff.class} /><Text span size="xs" c="dimmed">{changeClasses[check.diff.class].says}</Text></div>}
        {check?.ok && (
          <ul className={classes.tools}>
            {check.tools.map((t) => (
              <li key={t.name}>
                <RiskMark risk={t.risk} bare />
                <span className={classes.name}>{t.title || t.name}</span>
                <span className="mono">{t.scope}</span>
              </li>
            ))}
            {(check.resources ?? 0) > 0 && <li>{count(check.resources!, "resource")}</li>}
            {(check.prompts ?? 0) > 0 && <li>{count(check.prompts!, "prompt")}</li>}
          </ul>
        )}
      </section>
      {current && <Findings findings={check?.findings} />}
      {current && check?.diff && <BreakingList breaking={check.diff.breaking ?? []} />}
    </Stack>
  );
}
