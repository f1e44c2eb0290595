import { Alert, Button, Group, SimpleGrid, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconGitBranch, IconGitCompare, IconRadar2, IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { Tagged } from "~/api/client";
import { useCan } from "~/api/me";
import { offerQuery } from "~/api/upstreams";
import { count } from "~/lib/words";
import { ConnectHelp } from "~/ui/connect";
import { Facts } from "~/ui/facts";
import { TextLink } from "~/ui/link";
import { RiskMark, risks, type Risk } from "~/ui/risk";
import { Section } from "~/ui/section";
import { RelativeTime } from "~/ui/time";
import { DeleteServer } from "./delete";
import { HealthSection } from "./health";
import { revisionQuery, type Server } from "./queries";
import { hasDraft } from "./status";

export function OverviewTab({ read }: { read: Tagged<Server> }) {
  const s = read.data;
  const can = useCan();
  const [deleting, ask] = useDisclosure();
  const shown = s.active_revision ?? s.latest_revision;
  const revision = useQuery({ ...revisionQuery(s.slug, shown ?? 1), enabled: shown !== undefined });
  const tools = revision.data?.tools ?? [];
  return (
    <Stack gap="md">
      <Upstream server={s} />
      <Drafts server={s} />
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
        {s.status === "published" ? (
          <Section title="Connect a client" says="People add this URL to their agent, sign in, and tick what it may do.">
            <ConnectHelp slug={s.slug} url={s.mcp_url} />
          </Section>
        ) : (
          <Section title="Not served yet" says="Clients see a server once a revision of it is published.">
            <Text size="sm">Its URL will be <span className="mono">{s.mcp_url}</span></Text>
          </Section>
        )}
        <Stack gap="md">
          <Facts facts={[
            ["Slug", <span className="mono" key="slug">{s.slug}</span>],
            ["Kind", s.kind],
            ["Workers", s.pool && `pool ${s.pool}`],
            ["Revision", s.active_revision ? `${s.active_revision} is served` : "none is served"],
            ["Tools", revision.data && <RiskCounts key="tools" tools={tools} />],
            ["Changed", <RelativeTime key="at" at={s.updated_at} />],
          ]} />
          <Group gap="md"><TextLink to="/tasks" search={{ server: s.slug }} fz="sm">Its tasks</TextLink>{can("audit:read") && <TextLink to="/audit" search={{ server: s.slug }} fz="sm">Its records</TextLink>}</Group>
          {s.health !== undefined && (s.discovering || s.health !== "unknown") && <HealthSection server={s.slug} />}
          {can("servers:write") && s.status !== "deleting" && (
            <Group justify="flex-end">
              <Button variant="subtle" color="red" leftSection={<IconTrash size={15} aria-hidden />} onClick={ask.open}>Delete the server</Button>
            </Group>
          )}
        </Stack>
      </SimpleGrid>
      <DeleteServer server={s.slug} etag={read.etag} opened={deleting} onClose={ask.close} />
    </Stack>
  );
}

/** What its upstream has to do with the state of a server: its first answer is awaited, or it changed. */
function Upstream({ server: s }: { server: Server }) {
  const offer = useQuery(offerQuery(s.slug)).data;
  const link = (words: string) => <TextLink underline="always" to="/servers/$server" params={{ server: s.slug }} search={{ tab: "changes" }}>{words}</TextLink>;
  if (offer?.pending) {
    return (
      <Alert color="amber" icon={<IconGitCompare aria-hidden />} title="Its upstream offers something else than was agreed to">
        Clients get what was agreed to. Calls of tools that changed are refused until somebody decides. {link(`Look at ${count(offer.pending.changes.length, "change")}`)}.
      </Alert>
    );
  }
  if (!s.discovering && !offer?.awaited) return null;
  return (
    <Alert color={offer?.problem ? "red" : "accent"} icon={<IconRadar2 aria-hidden />} title={offer?.problem ? "What it offers could not be published" : "Being discovered"}>
      {offer?.problem ?? "The platform asks its upstream what it offers. Then it is published by itself."} {link("How far it is")}.
    </Alert>
  );
}

function Drafts({ server: s }: { server: Server }) {
  if (s.discovering) return null;
  if (s.status === "draft" && s.latest_revision) {
    return (
      <Alert color="amber" icon={<IconGitBranch aria-hidden />} title="This server is a draft">
        Nobody sees it yet. <TextLink underline="always" to="/servers/$server" params={{ server: s.slug }} search={{ tab: "revisions" }}>Look at revision {s.latest_revision} and publish it</TextLink>.
      </Alert>
    );
  }
  if (!hasDraft(s)) return null;
  return (
    <Alert color="amber" icon={<IconGitBranch aria-hidden />} title={`Revision ${s.latest_revision} is staged`}>
      Clients still get revision {s.active_revision}. <TextLink underline="always" to="/servers/$server" params={{ server: s.slug }} search={{ tab: "revisions", revision: s.latest_revision }}>See what would change, then publish</TextLink>.
    </Alert>
  );
}

export function RiskCounts({ tools }: { tools: readonly { risk: Risk }[] }) {
  if (tools.length === 0) return <>none</>;
  return (
    <Group gap="xs" component="span">
      {(Object.keys(risks) as Risk[]).map((risk) => {
        const n = tools.filter((t) => t.risk === risk).length;
        return n > 0 && <Group key={risk} gap={6} component="span" wrap="nowrap"><RiskMark risk={risk} bare /><span className="num" title={count(n, "tool")}>{n}</span></Group>;
      })}
    </Group>
  );
}
