import { Badge, Tabs } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { Tagged } from "~/api/client";
import { useCan } from "~/api/me";
import { isMissing } from "~/api/problem";
import { healthQuery, offerQuery } from "~/api/upstreams";
import { OffNotice, SwitchOffButton } from "~/safety/switch-off";
import { targets } from "~/safety/targets";
import { Crumb, PageHeader } from "~/ui/page-header";
import { EmptyState, Loaded } from "~/ui/states";
import { HealthBadge } from "./health";
import { serverQuery, type Server } from "./queries";
import { server as route, tabs } from "./routes";
import { ServerStatus } from "./status";
import { ChangesTab } from "./tab-changes";
import { ConnectionTab } from "./tab-connection";
import { OverviewTab } from "./tab-overview";
import { RevisionsTab } from "./tab-revisions";
import { SpecTab } from "./tab-spec";
import { ToolsTab } from "./tab-tools";
import { TryTab } from "./tab-try";

const labels = { overview: "Overview", tools: "Tools", changes: "Changes", spec: "Spec", revisions: "Revisions", connection: "Connection", try: "Try a tool" } as const;

export function Page() {
  const { server: slug } = route.useParams();
  const query = useQuery(serverQuery(slug));
  const read = query.data;
  return (
    <>
      <PageHeader title={read?.data.title || slug} badge={read && <Badges server={read.data} />} actions={read && <SwitchOffButton target={targets.server(slug)} name={read.data.title || slug} />} trail={<Crumb to="/servers">Servers</Crumb>}>
        {read?.data.description}
      </PageHeader>
      {isMissing(query.error) ? (
        <EmptyState title="There is no such server">It may have been deleted, or it is not yours to see.</EmptyState>
      ) : (
        <Loaded query={query}>{(found) => <><OffNotice all={[targets.server(slug)]} /><ServerTabs read={found} /></>}</Loaded>
      )}
    </>
  );
}

function Badges({ server: s }: { server: Server }) {
  const health = useQuery({ ...healthQuery(s.slug), enabled: s.status === "published" }).data?.status ?? s.health;
  return (
    <>
      <ServerStatus status={s.status} />
      {s.discovering && <Badge color="accent">Being discovered</Badge>}
      {s.status === "published" && health && health !== "unknown" && <HealthBadge state={health} />}
    </>
  );
}

function ServerTabs({ read }: { read: Tagged<Server> }) {
  const { tab = "overview" } = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const offer = useQuery(offerQuery(read.data.slug)).data;
  const shown = tabs.filter((t) => (t !== "changes" || offer?.discovers || tab === t) && (t !== "try" || can("tools:try")) && (t !== "connection" || read.data.connection !== undefined || read.data.kind !== "echo"));
  return (
    <Tabs value={tab} onChange={(next) => void navigate({ search: next === "overview" ? {} : { tab: next as typeof tab } })}>
      <Tabs.List mb="lg" aria-label="Parts of the server">
        {shown.map((t) => <Tabs.Tab key={t} value={t} rightSection={t === "changes" && offer?.pending && <Badge color="amber" className="num" flex="none" miw="fit-content" styles={{ label: { overflow: "visible" } }} aria-label={`${offer.pending.changes.length} to decide`}>{offer.pending.changes.length}</Badge>}>{labels[t]}</Tabs.Tab>)}
      </Tabs.List>
      <Tabs.Panel value="overview"><OverviewTab read={read} /></Tabs.Panel>
      <Tabs.Panel value="tools"><ToolsTab server={read.data} /></Tabs.Panel>
      <Tabs.Panel value="changes"><ChangesTab server={read.data} /></Tabs.Panel>
      <Tabs.Panel value="spec"><SpecTab server={read.data} /></Tabs.Panel>
      <Tabs.Panel value="revisions"><RevisionsTab server={read.data} /></Tabs.Panel>
      <Tabs.Panel value="connection"><ConnectionTab server={read.data} /></Tabs.Panel>
      <Tabs.Panel value="try"><TryTab server={read.data} /></Tabs.Panel>
    </Tabs>
  );
}
