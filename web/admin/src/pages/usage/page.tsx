import { Group, Pill, SegmentedControl, Skeleton, Stack, Text } from "@mantine/core";
import { IconChartHistogram } from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { useClientChoices } from "~/api/choices";
import { withFilter } from "~/lib/filters";
import { ButtonLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { EmptyState, Loaded } from "~/ui/states";
import { Stat, Stats } from "~/ui/stat";
import { Busiest, Errors } from "./aside";
import { Groups } from "./groups";
import { groupings, ms, narrowing, nouns, percent, ranges, type By, type Range, type Usage, type UsageSearch } from "./model";
import { usage as route } from "./routes";
import classes from "./usage.module.css";

const Charts = lazy(async () => ({ default: (await import("./charts")).Charts }));

/** How many calls, how fast, what failed, by whom. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const { range = "24h", by = "tool" } = search;
  const narrowed = narrowing(search);
  const query = useQuery({
    queryKey: ["usage", range, by, narrowed],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/usage", { params: { path: at(), query: { range, group_by: by, ...narrowed } }, signal })),
    placeholderData: keepPreviousData,
    refetchInterval: 60_000,
  });
  const set = (patch: Partial<UsageSearch>) => void navigate({ search: withFilter(search, patch), replace: true, resetScroll: false });

  return (
    <>
      <PageHeader title="Usage" actions={can("audit:read") && <ButtonLink variant="default" to="/audit" search={{ range, ...narrowed }}>Open in the audit</ButtonLink>}>
        Calls of tools and resources: how many, how fast, and what did not work.
      </PageHeader>
      <Group gap="sm" mb="md" role="search" aria-label="Usage">
        <SegmentedControl aria-label="Time" data={ranges} value={range} onChange={(v) => set({ range: v === "24h" ? undefined : (v as Range) })} />
        <Narrowed search={search} onRemove={(name) => set({ [name]: undefined, ...(name === "server" ? { tool: undefined } : {}) })} />
      </Group>
      <Loaded query={query} rows={8}>
        {(usage) => (
          <Stack gap="md" style={{ opacity: query.isPlaceholderData ? 0.6 : 1 }} aria-busy={query.isPlaceholderData}>
            {usage.totals.calls === 0 ? (
              <EmptyState icon={IconChartHistogram} title="No call in this time">
                {Object.keys(narrowed).length > 0 ? "Take a filter away, or choose a longer time." : "Once somebody's client calls a tool, the numbers are here within a minute."}
              </EmptyState>
            ) : (
              <Numbers usage={usage} by={by} search={search} onSet={set} />
            )}
          </Stack>
        )}
      </Loaded>
    </>
  );
}

function Numbers({ usage, by, search, onSet }: { usage: Usage; by: By; search: UsageSearch; onSet: (patch: Partial<UsageSearch>) => void }) {
  const t = usage.totals;
  return (
    <>
      <Stats cols={{ base: 2, "700px": 4, "1080px": 7 }}>
        <Stat label="Calls" value={t.calls.toLocaleString("en")}>{t.done.toLocaleString("en")} done</Stat>
        <Stat label="Refused" value={t.refused.toLocaleString("en")} tone={t.refused > 0 ? "warn" : undefined}>{percent(t.refused, t.calls)} of calls</Stat>
        <Stat label="Failed" value={t.failed.toLocaleString("en")} tone={t.failed > 0 ? "bad" : undefined}>{percent(t.failed, t.calls)} of calls</Stat>
        <Stat label="Outcome unknown" value={t.unknown.toLocaleString("en")} tone={t.unknown > 0 ? "warn" : undefined}>{t.unknown > 0 ? "look into each" : "none"}</Stat>
        <Stat label="p50" value={ms(t.p50_ms)}>half are faster</Stat>
        <Stat label="p95" value={ms(t.p95_ms)}>1 of 20 is slower</Stat>
        <Stat label="p99" value={ms(t.p99_ms)}>1 of 100 is slower</Stat>
      </Stats>
      <div className={classes.charts}>
        <Suspense fallback={<><Skeleton h={264} /><Skeleton h={264} /></>}><Charts usage={usage} /></Suspense>
      </div>
      <Group justify="space-between" mt="xs">
        <Text component="h2" fw={620} size="lg">By {nouns[by].toLowerCase()}</Text>
        <SegmentedControl aria-label="Group by" data={groupings} value={by} onChange={(v) => onSet({ by: v === "tool" ? undefined : (v as By) })} />
      </Group>
      <Groups usage={usage} by={by} search={search} onDrill={onSet} />
      <div className={classes.pair}>
        <Errors usage={usage} search={search} />
        <Busiest usage={usage} search={search} />
      </div>
    </>
  );
}

function Narrowed({ search, onRemove }: { search: UsageSearch; onRemove: (name: By) => void }) {
  const clients = useClientChoices();
  return (Object.entries(narrowing(search)) as [By, string][]).map(([name, value]) => (
    <Pill key={name} size="md" withRemoveButton onRemove={() => onRemove(name)} removeButtonProps={{ "aria-label": `Remove the filter ${nouns[name]}`, "aria-hidden": false, tabIndex: 0 }}>
      {nouns[name]}: {name === "client" ? (clients.find((c) => c.value === value)?.label ?? value) : value}
    </Pill>
  ));
}
