import { Badge, Group, Text, Tooltip } from "@mantine/core";
import { IconClockPlay } from "@tabler/icons-react";
import { useServerChoices, useToolChoices } from "~/api/choices";
import { api, at, body } from "~/api/client";
import { isFiltered, withFilter } from "~/lib/filters";
import { duration } from "~/lib/time";
import { FilterBar } from "~/ui/filter-bar";
import { TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState } from "~/ui/states";
import { SuggestField } from "~/ui/suggest-field";
import { RelativeTime } from "~/ui/time";
import { tasks as route } from "./routes";
import { TaskDrawer } from "./task";
import { goesOn, statuses, statusOptions, type Task } from "./words";

/** Calls that outlive their request: what runs, what waits, how it ended. */
export function Page() {
  const { task, ...search } = route.useSearch();
  const navigate = route.useNavigate();
  const servers = useServerChoices();
  const tools = useToolChoices(search.server);
  const set = (patch: Partial<typeof search>) => void navigate({ search: withFilter(search, patch), replace: true });
  const pages = usePages<Task>(["tasks", search], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/tasks", { params: { path: at(), query: { ...search, cursor, limit: 50 } }, signal })));
  return (
    <>
      <PageHeader title="Tasks">Calls that outlive their request: the client gets a handle at once, and the result when it is there. What was asked and answered is sealed for who made the call.</PageHeader>
      <Group gap="xs" align="flex-start">
        <SuggestField label="Server" width={150} value={search.server} suggestions={servers} onChange={(v) => set({ server: v })} />
        <SuggestField label="Tool" value={search.tool} suggestions={tools} onChange={(v) => set({ tool: v })} />
        <FilterBar
          search={search} onChange={(next) => void navigate({ search: next, replace: true })}
          filters={[{ kind: "text", name: "member", label: "Person's address", width: 210 }, { kind: "choice", name: "status", label: "Status", options: statusOptions }]}
        />
      </Group>
      <PagedTable
        pages={pages} label="Tasks" one="task" rowKey="id" onRowClick={(t) => void navigate({ search: { ...search, task: t.id } })}
        empty={isFiltered(search)
          ? <EmptyState icon={IconClockPlay} title="No task matches">Take a filter away.</EmptyState>
          : <EmptyState icon={IconClockPlay} title="No task yet">A call becomes one where its tool says <span className="mono">task: optional</span> or may take longer than a minute, and its client can follow one.</EmptyState>}
        columns={[
          {
            accessor: "tool", title: "Call", render: (t) => (
              <>
                <TextLink to="/tasks" search={{ ...search, task: t.id }} fw={550} c="inherit" onClick={(e) => e.stopPropagation()}>{t.tool}</TextLink>
                <Text size="xs" c="dimmed" className="mono">{t.server}</Text>
              </>
            ),
          },
          { accessor: "status", width: 150, render: (t) => <><TaskStatus status={t.status} />{t.cancel_asked && goesOn(t) && <Text size="xs" c="dimmed">asked to end</Text>}</> },
          { accessor: "message", title: "How far", visibleMediaQuery: "(min-width: 900px)", render: (t) => <Text size="sm" lineClamp={2} title={t.message}>{t.message}</Text> },
          { accessor: "member", title: "Person", width: 190, visibleMediaQuery: "(min-width: 700px)" },
          { accessor: "created_at", title: "Made", width: 130, render: (t) => <RelativeTime at={t.created_at} /> },
          { accessor: "ended_at", title: "Took", width: 90, textAlign: "right", visibleMediaQuery: "(min-width: 700px)", render: (t) => (t.started_at && t.ended_at ? <span className="num">{duration(Date.parse(t.ended_at) - Date.parse(t.started_at))}</span> : null) },
        ]}
      />
      <TaskDrawer task={task} onClose={() => void navigate({ search })} />
    </>
  );
}

export function TaskStatus({ status }: { status: Task["status"] }) {
  const { label, color, says } = statuses[status];
  return <Tooltip label={says}><Badge color={color} tabIndex={0}>{label}</Badge></Tooltip>;
}
