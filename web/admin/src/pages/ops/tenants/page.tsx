import { Badge, Button, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconBuilding, IconPlus } from "@tabler/icons-react";
import { useNavigate } from "@tanstack/react-router";
import { api, body, type Schemas } from "~/api/client";
import { FilterBar } from "~/ui/filter-bar";
import { TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { Meter } from "~/ui/quota";
import { EmptyState } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { tenants as route } from "../routes";
import { CreateTenant } from "./create";

type Tenant = Schemas["Tenant"];

/** Every company on the platform, with how much of what it may have is used. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const go = useNavigate();
  const [creating, create] = useDisclosure();
  const { q } = search;
  const pages = usePages<Tenant>(["tenants", q], (cursor, signal) => body(api.GET("/tenants", { params: { query: { limit: 50, ...(q ? { q } : {}), ...(cursor ? { cursor } : {}) } }, signal })));
  const use = (t: Tenant, name: "servers" | "members", label: string) => {
    const { used, limit } = t.quotas[name];
    return <><Text size="xs" className="num" mb={3}>{used.toLocaleString("en")} of {limit.toLocaleString("en")}</Text><Meter label={`${label} of ${t.slug}`} used={used} limit={limit} /></>;
  };
  return (
    <>
      <PageHeader title="Tenants" actions={<Button leftSection={<IconPlus size={15} aria-hidden />} onClick={create.open}>New tenant</Button>}>Each company is apart from every other: its own people, servers, issuer and audit.</PageHeader>
      <FilterBar search={search} onChange={(next) => void navigate({ search: next, replace: true })} filters={[{ kind: "text", name: "q", label: "Name or slug" }]} />
      <PagedTable
        pages={pages} label="Tenants" one="tenant" rowKey="id" onRowClick={(t) => void go({ to: "/tenants/$tenant", params: { tenant: t.slug } })}
        empty={q ? <EmptyState icon={IconBuilding} title="No tenant matches">Search for another part of its name.</EmptyState> : (
          <EmptyState icon={IconBuilding} title="No tenant yet" action={<Button onClick={create.open}>Make the first tenant</Button>}>A tenant comes with a role for its administrators and, if you like, the invitation of the first of them.</EmptyState>
        )}
        columns={[
          { accessor: "slug", title: "Tenant", width: 230, render: (t) => <><TextLink to="/tenants/$tenant" params={{ tenant: t.slug }} fw={520} onClick={(e) => e.stopPropagation()}>{t.name}</TextLink><Text size="xs" c="dimmed" className="mono">{t.slug}</Text></> },
          { accessor: "suspended", title: "State", width: 120, render: (t) => (t.suspended ? <Badge color="red">Suspended</Badge> : <Badge color="green">Open</Badge>) },
          { accessor: "servers", title: "Servers", width: 150, render: (t) => use(t, "servers", "Servers") },
          { accessor: "members", title: "People", width: 150, render: (t) => use(t, "members", "People") },
          { accessor: "created_at", title: "Since", width: 120, render: (t) => <RelativeTime at={t.created_at} /> },
        ]}
      />
      <CreateTenant opened={creating} onClose={create.close} />
    </>
  );
}
