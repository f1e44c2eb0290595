import { Badge, Button, Group, Text } from "@mantine/core";
import { IconAlertTriangle, IconBellExclamation, IconChecks, IconCircleCheck, IconInfoCircle, IconUrgent, type Icon } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useClientChoices, useServerChoices } from "~/api/choices";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import type { SafetyEvent } from "~/api/safety";
import { eventKindOptions, explainEvent } from "~/lib/event-kinds";
import { isFiltered, withFilter } from "~/lib/filters";
import { count } from "~/lib/words";
import { FilterBar } from "~/ui/filter-bar";
import { TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { usePages } from "~/ui/paged-table";
import { EmptyState, ErrorState, LoadingState } from "~/ui/states";
import { SuggestField } from "~/ui/suggest-field";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { events as route } from "./routes";
import classes from "./events.module.css";

const acknowledge = (id: string) => body(api.PUT("/tenants/{tenant}/events/{safety_event}/acknowledgement", { params: { path: at({ safety_event: id }) } }));

/** What somebody should look at, with what it means and what to do. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const may = useCan()("events:write");
  const servers = useServerChoices();
  const apps = useClientChoices();
  const set = (patch: Partial<typeof search>) => void navigate({ search: withFilter(search, patch), replace: true });
  const { open, ...rest } = search;
  const query = { ...rest, ...(open ? { open: open === "yes" } : {}) };
  const pages = usePages<SafetyEvent>(["events", "list", query], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/events", { params: { path: at(), query: { ...query, limit: 50, ...(cursor ? { cursor } : {}) } }, signal })));
  const rows = pages.data?.pages.flatMap((p) => p.data) ?? [];
  return (
    <>
      <PageHeader title="Events" actions={may && <AcknowledgeAll shown={rows.filter((e) => !e.acknowledged_at)} />}>Loops, withheld credentials, switches and the like: what somebody should look at. The audit has every call; these are the ones that matter.</PageHeader>
      <Group gap="xs" align="flex-start">
        <SuggestField label="Server" width={150} value={search.server} suggestions={servers} onChange={(v) => set({ server: v })} />
        <FilterBar search={search} onChange={(next) => void navigate({ search: next, replace: true })} filters={[
          { kind: "choice", name: "kind", label: "Kind", options: eventKindOptions, width: 190 },
          { kind: "choice", name: "open", label: "Open or not", options: [{ value: "yes", label: "Open" }, { value: "no", label: "Acknowledged" }], width: 150 },
        ]} />
      </Group>
      {pages.isPending ? <LoadingState rows={6} /> : pages.isError && rows.length === 0 ? <ErrorState error={pages.error} onRetry={() => void pages.refetch()} /> : rows.length === 0 ? (
        isFiltered(search) ? <EmptyState icon={IconBellExclamation} title="No event matches">Take a filter away.</EmptyState>
          : <EmptyState icon={IconCircleCheck} title="Nothing has happened">A loop, a credential on its way out, an unknown outcome: it would stand here.</EmptyState>
      ) : (
        <>
          <ul className={classes.list} aria-label="Events">{rows.map((e) => <Event key={e.id} event={e} app={apps.find((a) => a.value === e.client)?.label} may={may} />)}</ul>
          <Group justify="space-between" mt="sm" px={4}>
            <Text size="xs" c="dimmed" className="num" role="status">{count(rows.length, "event")}{pages.hasNextPage && " so far"}</Text>
            {pages.hasNextPage && <Button variant="default" loading={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>Show more</Button>}
          </Group>
          {pages.isFetchNextPageError && <ErrorState error={pages.error} onRetry={() => void pages.fetchNextPage()} />}
        </>
      )}
    </>
  );
}

const severities: Record<SafetyEvent["severity"], { label: string; color: string; icon: Icon }> = {
  critical: { label: "Critical", color: "red", icon: IconUrgent },
  warning: { label: "Warning", color: "amber", icon: IconAlertTriangle },
  info: { label: "Info", color: "gray", icon: IconInfoCircle },
};

function Event({ event: e, app, may }: { event: SafetyEvent; app: string | undefined; may: boolean }) {
  const can = useCan();
  const { label, means, todo } = explainEvent(e.kind);
  const { label: grade, color, icon: Icon } = severities[e.severity];
  const seen = e.acknowledged_at !== undefined;
  return (
    <li className={classes.event} data-seen={seen || undefined}>
      <span className={classes.icon} data-severity={seen ? undefined : e.severity}><Icon size={17} aria-hidden /></span>
      <div className={classes.words}>
        <h2 className={classes.title}>{label} <Badge color={seen ? "gray" : color}>{grade}</Badge>{e.count > 1 && <Badge aria-label={`${e.count} times within a minute`}>{e.count.toLocaleString("en")}×</Badge>}</h2>
        <div className={classes.detail}>{e.detail}</div>
        <div className={classes.meta}>
          {e.member && <span>{can("members:read") ? <TextLink to="/people/$member" params={{ member: e.member }}>{e.member}</TextLink> : e.member}</span>}
          {e.client && <span>through {can("clients:read") ? <TextLink to="/clients" search={{ client: e.client }} underline="always">{app ?? "an app"}</TextLink> : "an app"}</span>}
          {e.tool && e.server ? <span className="mono">{can("servers:read") ? <TextLink to="/tools/$server/$tool" params={{ server: e.server, tool: e.tool }}>{e.server}/{e.tool}</TextLink> : `${e.server}/${e.tool}`}</span>
            : e.server && <span className="mono">{can("servers:read") ? <TextLink to="/servers/$server" params={{ server: e.server }}>{e.server}</TextLink> : e.server}</span>}
          {e.call_id && can("audit:read") && <span><TextLink to="/audit" search={{ call: e.call_id }}>{e.count > 1 ? "one of the calls" : "the call"} in the audit</TextLink></span>}
          {e.kind === "approval_requested" && <span><TextLink to="/approvals">Approvals</TextLink></span>}
          {(e.kind === "switched_off" || e.kind === "switched_on") && can("switches:read") && <span><TextLink to="/switches">Kill switches</TextLink></span>}
        </div>
        <details className={classes.help}>
          <summary>What it means, what to do</summary>
          <div><Text size="sm">{means}</Text><Text size="sm" mt={6}><b>What to do.</b> {todo}</Text></div>
        </details>
      </div>
      <div className={classes.side}>
        <RelativeTime at={e.at} />
        {seen ? <Text size="xs" c="dimmed" mt={4}>seen by {e.acknowledged_by ?? "somebody"}, <RelativeTime at={e.acknowledged_at} /></Text> : may && <Acknowledge event={e} label={label} />}
      </div>
    </li>
  );
}

function useRefresh() {
  const client = useQueryClient();
  return () => client.invalidateQueries({ queryKey: ["events"] });
}

function Acknowledge({ event, label }: { event: SafetyEvent; label: string }) {
  const refresh = useRefresh();
  const act = useMutation({ mutationFn: () => acknowledge(event.id), onSuccess: refresh, onError: (error) => toast.problem(error, "It is still open") });
  return <div><Button mt={6} size="compact-sm" variant="default" loading={act.isPending} onClick={() => act.mutate()} aria-label={`Acknowledge: ${label}, ${event.detail}`}>Acknowledge</Button></div>;
}

function AcknowledgeAll({ shown }: { shown: SafetyEvent[] }) {
  const refresh = useRefresh();
  const act = useMutation({
    mutationFn: async () => {
      // A few at a time, so that fifty do not reach the platform's own limits.
      for (let from = 0; from < shown.length; from += 5) await Promise.all(shown.slice(from, from + 5).map((e) => acknowledge(e.id)));
      return shown.length;
    },
    onSuccess: (n) => toast.done(`${count(n, "event")} acknowledged.`),
    onError: (error) => toast.problem(error, "Some are still open"),
    onSettled: refresh,
  });
  if (shown.length === 0) return null;
  return <Button variant="default" leftSection={<IconChecks size={15} aria-hidden />} loading={act.isPending} onClick={() => act.mutate()}>Acknowledge {shown.length === 1 ? "the one shown" : `all ${shown.length} shown`}</Button>;
}
