import { Group, SimpleGrid, Stack, Text } from "@mantine/core";
import { IconChecklist } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { isMissing } from "~/api/problem";
import type { Approval } from "~/api/safety";
import { exactTime } from "~/lib/time";
import { Facts } from "~/ui/facts";
import { ButtonLink, TextLink } from "~/ui/link";
import { Crumb, PageHeader } from "~/ui/page-header";
import { RiskMark } from "~/ui/risk";
import { Section } from "~/ui/section";
import { EmptyState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { Arguments } from "./arguments";
import { Decide } from "./decide";
import { Left, StatusMark } from "./marks";
import { approval as route } from "./routes";
import { statuses } from "./words";
import classes from "./approvals.module.css";

/** One approval: where the link of a mail leads. */
export function Page() {
  const { approval: id } = route.useParams();
  const query = useQuery({
    queryKey: ["approvals", "one", id],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/approvals/{approval}", { params: { path: at({ approval: id }) }, signal })),
    refetchInterval: (q) => (q.state.data?.status === "pending" ? 15_000 : false),
  });
  const a = query.data;
  return (
    <>
      <PageHeader title={a ? a.title || a.tool : "Approval"} trail={<Crumb to="/approvals">Approvals</Crumb>} badge={a && <StatusMark status={a.status} />}>
        {a && <span className="mono">{a.server}/{a.tool}</span>}
      </PageHeader>
      {isMissing(query.error) ? (
        <EmptyState icon={IconChecklist} title="There is no such approval" action={<ButtonLink to="/approvals" variant="default">All approvals</ButtonLink>}>It is not yours to decide or see, or the link is not whole.</EmptyState>
      ) : (
        <Loaded query={query} rows={6}>{(found) => <View approval={found} />}</Loaded>
      )}
    </>
  );
}

function View({ approval: a }: { approval: Approval }) {
  const can = useCan();
  return (
    <Stack gap="md">
      <article className={classes.card} data-mine={a.may_decide || undefined}>
        <header className={classes.head}>
          <span>{a.status === "pending" ? <>Waits for somebody with the role <b>{a.role}</b></> : statuses[a.status].says}</span>
          {a.status === "pending" && <Left until={a.expires_at} />}
        </header>
        <div className={classes.body}>
          {a.message && <div className={classes.message}>{a.message}</div>}
          <Arguments of={a.arguments} />
          {a.status === "pending" && <div className={classes.foot}><Decide approval={a} /></div>}
        </div>
      </article>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
        <Section title="How it went"><Steps approval={a} /></Section>
        <Facts label="About the call" facts={Object.entries({
          Tool: can("servers:read") ? <TextLink to="/tools/$server/$tool" params={{ server: a.server, tool: a.tool }}>{a.title || a.tool}</TextLink> : a.title || a.tool,
          Server: <span className="mono">{a.server}</span>,
          Risk: <RiskMark risk={a.risk} />,
          "Asked by": can("members:read") ? <TextLink to="/people/$member" params={{ member: a.member }}>{a.member}</TextLink> : a.member,
          App: a.client && (can("clients:read") ? <TextLink to="/clients" search={{ client: a.client }}>{a.client_name || a.client}</TextLink> : a.client_name),
          "Role that decides": a.role,
          Expires: <RelativeTime at={a.expires_at} />,
          "Approval id": <span className="mono">{a.id}</span>,
        })} />
      </SimpleGrid>
    </Stack>
  );
}

function Steps({ approval: a }: { approval: Approval }) {
  const denied = a.status === "denied";
  return (
    <ol className={classes.steps}>
      <li>
        {a.member} asked{a.client_name && ` through ${a.client_name}`} <Call id={a.call_id} />
        <Text size="xs" c="dimmed">{exactTime(a.requested_at)}</Text>
      </li>
      {a.decided_at && (
        <li data-tone={denied ? "bad" : "good"}>
          {a.decided_by ?? "Somebody"} {denied ? "denied" : "approved"} it
          <Text size="xs" c="dimmed">{exactTime(a.decided_at)}</Text>
          {a.reason && <div className={classes.quote}>{a.reason}</div>}
        </li>
      )}
      {a.used_call_id && <li data-tone="good">It ran with this approval <Call id={a.used_call_id} /></li>}
      {a.status === "pending" && <li data-tone="wait">It waits<Text size="xs" c="dimmed">until {exactTime(a.expires_at)}, then it expires by itself</Text></li>}
      {a.status === "approved" && <li data-tone="wait">It waits for the call<Text size="xs" c="dimmed">good once, until {exactTime(a.expires_at)}</Text></li>}
      {a.status === "expired" && <li>It expired {a.decided_at ? "before the call was made" : "undecided"}<Text size="xs" c="dimmed">{exactTime(a.expires_at)}</Text></li>}
    </ol>
  );
}

function Call({ id }: { id: string | undefined }) {
  const can = useCan();
  if (!id) return null;
  return <Group component="span" display="inline" gap={4}>{can("audit:read") ? <TextLink to="/audit" search={{ call: id }} size="sm" underline="always">its records</TextLink> : <Text span size="xs" c="dimmed" className="mono">{id}</Text>}</Group>;
}
