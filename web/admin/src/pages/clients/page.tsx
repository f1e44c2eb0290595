import { Group, Tabs, Text, Tooltip } from "@mantine/core";
import { IconPlugConnected } from "@tabler/icons-react";
import { api, at, body } from "~/api/client";
import { isFiltered, withFilter } from "~/lib/filters";
import { count, list } from "~/lib/words";
import { FilterBar } from "~/ui/filter-bar";
import { TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { ClientDrawer, IdentityMark, type Client } from "./client";
import { Grants } from "./grants";
import { clients as route } from "./routes";

/** Which apps people connected, and what they let them do. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  return (
    <>
      <PageHeader title="Clients">Apps register themselves and can do nothing until a person lets them in. What a person allowed one app is a grant.</PageHeader>
      <Tabs value={search.tab ?? "apps"} onChange={(tab) => void navigate({ search: tab === "grants" ? { tab } : {}, replace: true })}>
        <Tabs.List mb="md" aria-label="Clients">
          <Tabs.Tab value="apps">Apps</Tabs.Tab>
          <Tabs.Tab value="grants">Grants</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="apps"><Apps /></Tabs.Panel>
        <Tabs.Panel value="grants"><Grants /></Tabs.Panel>
      </Tabs>
    </>
  );
}

function Apps() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { q, authorized } = search;
  const query = { ...(q ? { q } : {}), ...(authorized ? { authorized: authorized === "yes" } : {}) };
  const pages = usePages<Client>(["clients", query], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/clients", { params: { path: at(), query: { ...query, limit: 50, ...(cursor ? { cursor } : {}) } }, signal })));
  const show = (client: string | undefined) => void navigate({ search: withFilter(search, { client }), replace: true });
  return (
    <>
      <FilterBar search={search} onChange={(next) => void navigate({ search: next, replace: true })} filters={[
        { kind: "text", name: "q", label: "Name" },
        { kind: "choice", name: "authorized", label: "Let in or not", options: [{ value: "yes", label: "Somebody let it in" }, { value: "no", label: "Nobody did" }], width: 180 },
      ]} />
      <PagedTable
        pages={pages} label="Apps" one="app" rowKey="id" onRowClick={(c) => show(c.id)}
        empty={isFiltered(query) ? <EmptyState icon={IconPlugConnected} title="No app matches">Take a filter away.</EmptyState> : (
          <EmptyState icon={IconPlugConnected} title="No app is connected yet">Give people the URL of a server; their client registers here when they add it. Each server's page shows the steps for every client.</EmptyState>
        )}
        columns={[
          {
            accessor: "name", title: "App", width: 250,
            render: (c) => (
              <>
                <Group gap={6} wrap="nowrap">
                  <TextLink to="/clients" search={withFilter(search, { client: c.id })} replace fw={520} onClick={(e) => e.stopPropagation()}>{c.name || "Without a name"}</TextLink>
                  <IdentityMark client={c} />
                </Group>
                {c.uri && <Text size="xs" c="dimmed" truncate>{c.uri}</Text>}
              </>
            ),
          },
          { accessor: "redirect_hosts", title: <Tooltip label="Where the browser is sent with the code after consent"><span>Answers go to</span></Tooltip>, width: 200, render: (c) => <span className="mono">{list(c.redirect_hosts, 2) || "nowhere"}</span> },
          { accessor: "authorized_at", title: "Let in", width: 130, render: (c) => (c.authorized_at ? <RelativeTime at={c.authorized_at} /> : <Text span size="sm" c="dimmed">by nobody</Text>) },
          { accessor: "grants", title: "In force", width: 110, render: (c) => <span className="num">{c.grants === 0 ? "none" : count(c.grants, "grant")}</span> },
          { accessor: "last_used_at", title: "Last used", width: 120, render: (c) => <RelativeTime at={c.last_used_at} /> },
          { accessor: "created_at", title: "Registered", width: 120, render: (c) => <RelativeTime at={c.created_at} /> },
        ]}
      />
      <ClientDrawer id={search.client} onClose={() => show(undefined)} />
    </>
  );
}
