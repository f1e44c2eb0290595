import { Badge, Stack, Table, Text } from "@mantine/core";
import { IconCpu } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { api, body } from "~/api/client";
import { count } from "~/lib/words";
import { PageHeader } from "~/ui/page-header";
import { Meter } from "~/ui/quota";
import { Section } from "~/ui/section";
import { EmptyState, Loaded } from "~/ui/states";
import { Stat, Stats } from "~/ui/stat";
import { RelativeTime } from "~/ui/time";
import { pools, versions, type Worker } from "./pools";

/** The processes that run calls, as this edge hears them. */
export function Page() {
  const query = useQuery({ queryKey: ["workers"], queryFn: async ({ signal }) => (await body(api.GET("/workers", { signal }))).data, refetchInterval: 5000, staleTime: 0 });
  return (
    <>
      <PageHeader title="Workers">Processes that run the calls. Each has slots, one for each call at a time; a pool with none free makes callers wait.</PageHeader>
      <Loaded query={query} rows={6}>
        {(workers) => workers.length === 0 ? (
          <EmptyState icon={IconCpu} title="No worker is running">Calls of every tenant fail with no_worker until one is. Start it with <span className="mono">worker run</span>.</EmptyState>
        ) : <Workers workers={workers} />}
      </Loaded>
    </>
  );
}

function Workers({ workers }: { workers: Worker[] }) {
  const all = pools(workers);
  const mixed = versions(workers).length > 1;
  const total = (pick: (w: Worker) => number) => workers.reduce((sum, w) => sum + pick(w), 0);
  return (
    <>
      <Stats cols={{ base: 2, "620px": 4 }} mb="md">
        <Stat label="Workers" value={workers.length}>{count(all.length, "pool")}</Stat>
        <Stat label="Slots" value={total((w) => w.slots)}>calls at a time</Stat>
        <Stat label="Busy" value={total((w) => w.busy)}>at this moment</Stat>
        <Stat label="Version" value={mixed ? "mixed" : versions(workers)[0]} tone={mixed ? "warn" : undefined}>{mixed ? versions(workers).join(", ") : "all the same"}</Stat>
      </Stats>
      <Stack gap="md">
      {all.map((pool) => (
        <Section key={pool.name} title={pool.name} says={`${count(pool.workers.length, "worker")}, ${pool.busy} of ${count(pool.slots, "slot")} busy.`} actions={pool.busy >= pool.slots && <Badge color="amber">no slot free</Badge>}>
          <Table.ScrollContainer minWidth={520} type="native" tabIndex={0} role="region" aria-label={`Workers of ${pool.name}`}>
            <Table aria-label={`Workers of ${pool.name}`}>
              <Table.Thead><Table.Tr><Table.Th scope="col">Worker</Table.Th><Table.Th scope="col" w="32%">Slots</Table.Th><Table.Th scope="col" ta="right">Busy</Table.Th><Table.Th scope="col">Version</Table.Th><Table.Th scope="col">Last heard</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>
                {pool.workers.map((w) => (
                  <Table.Tr key={w.name}>
                    <Table.Th scope="row" fw={500} className="mono">{w.name}</Table.Th>
                    <Table.Td><Meter low label={`Slots of ${w.name}`} used={w.busy} limit={w.slots} /></Table.Td>
                    <Table.Td ta="right" className="num nowrap">{w.busy} of {w.slots}</Table.Td>
                    <Table.Td><Text span size="sm" className="mono">{w.version}</Text></Table.Td>
                    <Table.Td><RelativeTime at={w.last_seen_at} /></Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        </Section>
      ))}
      </Stack>
    </>
  );
}
