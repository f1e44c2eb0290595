import { Group, Text, Title } from "@mantine/core";
import { IconChecklist, IconCircleCheck } from "@tabler/icons-react";
import { useServerChoices, useToolChoices } from "~/api/choices";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { usePendingApprovals, type Approval } from "~/api/safety";
import { isFiltered, withFilter } from "~/lib/filters";
import { FilterBar } from "~/ui/filter-bar";
import { TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages, type CursorPage } from "~/ui/paged-table";
import { RiskMark } from "~/ui/risk";
import { EmptyState, Loaded } from "~/ui/states";
import { SuggestField } from "~/ui/suggest-field";
import { RelativeTime } from "~/ui/time";
import { Arguments } from "./arguments";
import { Decide } from "./decide";
import { Left, StatusMark } from "./marks";
import { approvals as route } from "./routes";
import { arrange } from "./words";
import classes from "./approvals.module.css";

/** Calls that wait for somebody's consent, then what was decided. */
export function Page() {
  const pending = usePendingApprovals();
  return (
    <>
      <PageHeader title="Approvals">Calls that a tool does not make before somebody else agrees. Who asked cannot agree to it, and a decision is good for that one call.</PageHeader>
      <Loaded query={pending} rows={4}>
        {({ data, has_more }) => data.length === 0 ? (
          <EmptyState icon={IconCircleCheck} title="Nothing waits">A call stands here while it needs somebody's consent, with what it would do and how much time is left.</EmptyState>
        ) : (
          <>
            <ul className={classes.waiting} aria-label="Waiting">{arrange(data).map((a) => <li key={a.id}><Waiting approval={a} /></li>)}</ul>
            {has_more && <Text size="sm" c="dimmed" mb="md">More wait than stand here. They appear as these are decided.</Text>}
          </>
        )}
      </Loaded>
      <Decided />
    </>
  );
}

function Waiting({ approval: a }: { approval: Approval }) {
  return (
    <article className={classes.card} data-mine={a.may_decide || undefined} aria-label={`${a.title || a.tool}, asked by ${a.member}`}>
      <header className={classes.head}>
        <span className={classes.tool}>
          <TextLink to="/approvals/$approval" params={{ approval: a.id }} fw={580}>{a.title || a.tool}</TextLink>
          <Text span size="xs" c="dimmed" className="mono">{a.server}/{a.tool}</Text>
          <RiskMark risk={a.risk} />
        </span>
        <Left until={a.expires_at} />
      </header>
      <div className={classes.body}>
        {a.message && <div className={classes.message}>{a.message}</div>}
        <div className={classes.meta}>
          <span><b>{a.member}</b> asks{a.client_name && <>, through <b>{a.client_name}</b></>}</span>
          <RelativeTime at={a.requested_at} />
          <span>decided by who holds <b>{a.role}</b></span>
        </div>
        <Arguments of={a.arguments} />
        <div className={classes.foot}><Decide approval={a} /></div>
      </div>
    </article>
  );
}

const decidedStatuses = [{ value: "approved", label: "Approved, not used yet" }, { value: "used", label: "Approved and used" }, { value: "denied", label: "Denied" }, { value: "expired", label: "Expired" }];

function Decided() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const servers = useServerChoices();
  const tools = useToolChoices(search.server);
  const set = (patch: Partial<typeof search>) => void navigate({ search: withFilter(search, patch), replace: true });
  const pages = usePages<Approval>(["approvals", "decided", search], (cursor, signal) => decidedPage(cursor, (from) =>
    body(api.GET("/tenants/{tenant}/approvals", { params: { path: at(), query: { ...search, limit: 50, ...(from ? { cursor: from } : {}) } }, signal }))));
  return (
    <section aria-label="Decided">
      <Title order={2} mb="sm">Decided</Title>
      <Group gap="xs" align="flex-start">
        <SuggestField label="Server" width={150} value={search.server} suggestions={servers} onChange={(v) => set({ server: v })} />
        <SuggestField label="Tool" value={search.tool} suggestions={tools} onChange={(v) => set({ tool: v })} />
        <FilterBar search={search} onChange={(next) => void navigate({ search: next, replace: true })} filters={[{ kind: "choice", name: "status", label: "Status", options: decidedStatuses, width: 190 }]} />
      </Group>
      <PagedTable
        pages={pages} label="Decided approvals" one="approval" rowKey="id" onRowClick={(a) => void navigate({ to: "/approvals/$approval", params: { approval: a.id } })}
        empty={isFiltered(search)
          ? <EmptyState icon={IconChecklist} title="No approval matches">Take a filter away.</EmptyState>
          : <EmptyState icon={IconChecklist} title="Nothing was decided yet">{can("approvals:read") ? "Every decision of the tenant stands here, with who decided and why." : "Your decisions stand here, and those on what you asked for."}</EmptyState>}
        columns={[
          { accessor: "title", title: "Call", width: 230, render: (a) => (
            <>
              <TextLink to="/approvals/$approval" params={{ approval: a.id }} fw={520} onClick={(e) => e.stopPropagation()}>{a.title || a.tool}</TextLink>
              <Text size="xs" c="dimmed" className="mono">{a.server}/{a.tool}</Text>
            </>
          ) },
          { accessor: "status", title: "Status", width: 120, render: (a) => <StatusMark status={a.status} /> },
          { accessor: "member", title: "Asked by", width: 190, render: (a) => <><Text size="sm">{a.member}</Text><Text size="xs" c="dimmed">{a.client_name}</Text></> },
          { accessor: "decided_by", title: "Decided by", width: 190, render: (a) => a.decided_by ?? <Text span size="sm" c="dimmed">nobody</Text> },
          { accessor: "reason", title: "Reason", width: 200, render: (a) => <Text size="sm" lineClamp={2} title={a.reason}>{a.reason}</Text> },
          { accessor: "decided_at", title: "When", width: 130, render: (a) => <RelativeTime at={a.decided_at ?? a.expires_at} /> },
        ]}
      />
    </section>
  );
}

/** A page without those that wait, which stand above; reads on where nothing is left of it. */
export async function decidedPage(cursor: string | undefined, read: (cursor: string | undefined) => Promise<CursorPage<Approval>>): Promise<CursorPage<Approval>> {
  let from = cursor;
  for (let tries = 0; ; tries++) {
    const page = await read(from);
    const data = page.data.filter((a) => a.status !== "pending");
    if (data.length > 0 || !page.has_more || tries === 4) return { ...page, data };
    from = page.next_cursor;
  }
}
