import { Badge, Text } from "@mantine/core";
import { IconLock } from "@tabler/icons-react";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { stateOf } from "~/connection/state";
import { withFilter } from "~/lib/filters";
import { ButtonLink, TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { ConnectionDrawer } from "./connection";
import { credentials as route } from "./routes";

type Connection = Schemas["Connection"];

/** Where the credentials of each server come from; never a value. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const pages = usePages<Connection>(["connections"], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/connections", { params: { path: at(), query: { limit: 100, ...(cursor ? { cursor } : {}) } }, signal })));
  const show = (server: string | undefined) => void navigate({ search: withFilter(search, { server }), replace: true });
  return (
    <>
      <PageHeader title="Credentials">Each call runs with a credential made for it, which lives for minutes. What makes them is in Vault: it can be replaced here, and never read.</PageHeader>
      <PagedTable
        pages={pages} label="Connections" one="connection" rowKey="server" onRowClick={(c) => show(c.server)}
        empty={<EmptyState icon={IconLock} title="No server needs credentials yet" action={can("servers:write") && <ButtonLink to="/add-server">Add a server</ButtonLink>}>Once a server has a connection, this is where it says where its credentials come from and whether they can be issued.</EmptyState>}
        columns={[
          { accessor: "server", title: "Server", width: 150, render: (c) => <><TextLink to="/credentials" search={{ server: c.server }} replace fw={520} onClick={(e) => e.stopPropagation()}>{c.server}</TextLink><Text size="xs" c="dimmed">{c.kind}</Text></> },
          { accessor: "source", title: "Where they come from", width: 330, render: (c) => c.source ?? <Text span size="sm" c="dimmed">not said</Text> },
          { accessor: "state", title: "State", width: 130, render: (c) => { const s = stateOf(c); return <Badge color={s.color}>{s.label}</Badge>; } },
          { accessor: "last_issued_at", title: "Last issued", width: 130, render: (c) => <RelativeTime at={c.last_issued_at} /> },
          {
            accessor: "last_failed_at", title: "Last failure", width: 240,
            render: (c) => c.last_failed_at ? <><RelativeTime at={c.last_failed_at} />{c.last_failure && <Text size="xs" c="dimmed">{c.last_failure}</Text>}</> : <Text span size="sm" c="dimmed">none</Text>,
          },
        ]}
      />
      <ConnectionDrawer server={search.server} onClose={() => show(undefined)} />
    </>
  );
}
