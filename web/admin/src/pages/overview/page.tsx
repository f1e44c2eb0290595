import { Grid, Select, Stack } from "@mantine/core";
import { IconPlugConnected } from "@tabler/icons-react";
import { useMemo, useState } from "react";
import { ConnectHelp } from "~/ui/connect";
import { PageHeader } from "~/ui/page-header";
import { Section } from "~/ui/section";
import { EmptyState, Loaded } from "~/ui/states";
import { attention } from "./attention";
import { AttentionList } from "./attention-list";
import { LastCalls } from "./last-calls";
import { Numbers } from "./numbers";
import { setup } from "./setup";
import { SetupList } from "./setup-list";
import { useOverview } from "./use-overview";

/** Not asked for at all, because the person may not read it. */
const shows = (q: { fetchStatus: string; status: string }) => !(q.status === "pending" && q.fetchStatus === "idle");

/** Where the day begins: what needs somebody, how to connect, what was called last. */
export function Page() {
  const o = useOverview();
  const [now] = useState(() => Date.now());
  const items = useMemo(
    () => attention({
      servers: o.servers.data, unopened: o.unopened.data, members: o.members.data, keys: o.keys.data, connections: o.connections.data, denied: o.denied.data,
      events: o.events.data?.data, approvals: o.approvals.data?.data, switches: o.switches.data?.data, deprecations: o.deprecations.data?.data, changed: o.changed, expired: o.expired,
    }, now),
    [o.servers.data, o.unopened.data, o.members.data, o.keys.data, o.connections.data, o.denied.data, o.events.data, o.approvals.data, o.switches.data, o.deprecations.data, o.changed, o.expired, now],
  );
  const settled = [o.servers, o.roles, o.members, o.clients, o.calls].every((q) => !q.isLoading);
  const steps = setup({ servers: o.servers.data, roles: o.roles.data, members: o.members.data?.length, clients: o.clients.data?.length, calls: o.calls.data?.length });
  const asked = [o.servers, o.connections, o.unopened, o.members, o.keys, o.denied, o.events, o.approvals, o.switches, o.deprecations].some((q) => q.isLoading);

  return (
    <>
      <PageHeader title="Overview" />
      <Stack gap="md">
        {settled && steps.some((s) => !s.done) && <SetupList steps={steps} />}
        {shows(o.usage) && o.usage.data && o.usage.data.totals.calls > 0 && <Numbers usage={o.usage.data} />}
        <Grid gap="md">
          <Grid.Col span={{ base: 12, lg: 7 }}>
            <Stack gap="md">
              <AttentionList items={items} loading={asked} />
              {shows(o.calls) && <LastCalls query={o.calls} />}
            </Stack>
          </Grid.Col>
          {shows(o.servers) && (
            <Grid.Col span={{ base: 12, lg: 5 }}>
              <Section title="Connect a client" says="The URL is all a person needs; the rest is signing in.">
                <Loaded query={o.servers} rows={3}>{(all) => <Connect servers={all.filter((s) => s.status === "published")} />}</Loaded>
              </Section>
            </Grid.Col>
          )}
        </Grid>
      </Stack>
    </>
  );
}

function Connect({ servers }: { servers: { slug: string; title: string; mcp_url: string }[] }) {
  const [slug, setSlug] = useState<string>();
  const chosen = servers.find((s) => s.slug === slug) ?? servers[0];
  if (!chosen) return <EmptyState compact icon={IconPlugConnected} title="No server is published yet">Its URL stands here as soon as there is one.</EmptyState>;
  return (
    <Stack gap="xs">
      {servers.length > 1 && <Select aria-label="Server to connect" allowDeselect={false} searchable={servers.length > 8} value={chosen.slug} onChange={(v) => v && setSlug(v)} data={servers.map((s) => ({ value: s.slug, label: s.title || s.slug }))} />}
      <ConnectHelp key={chosen.slug} slug={chosen.slug} url={chosen.mcp_url} />
    </Stack>
  );
}
