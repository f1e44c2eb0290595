import { Badge, Group, Text } from "@mantine/core";
import { IconPlus, IconServer2 } from "@tabler/icons-react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { isFiltered } from "~/lib/filters";
import { CopyButton } from "~/ui/copy";
import { FilterBar } from "~/ui/filter-bar";
import { ButtonLink, TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { HealthBadge } from "./health";
import type { Server } from "./queries";
import { servers as route } from "./routes";
import { hasDraft, ServerStatus } from "./status";

export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const pages = usePages<Server>(["servers", "list", search], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/servers", { params: { path: at(), query: { ...search, cursor, limit: 50 } }, signal })));
  const add = can("servers:write") && <ButtonLink to="/add-server" leftSection={<IconPlus size={15} aria-hidden />}>Add a server</ButtonLink>;

  return (
    <>
      <PageHeader title="Servers" actions={add}>What is hosted here. Each server has a URL of its own that people add to their agent.</PageHeader>
      <FilterBar
        search={search} onChange={(next) => void navigate({ search: next, replace: true })}
        filters={[
          { kind: "text", name: "q", label: "Name" },
          { kind: "choice", name: "status", label: "Status", options: [{ value: "published", label: "Published" }, { value: "draft", label: "Draft" }] },
        ]}
      />
      <PagedTable
        pages={pages} label="Servers" one="server" rowKey="slug"
        onRowClick={(s) => void navigate({ to: "/servers/$server", params: { server: s.slug } })}
        empty={
          isFiltered(search)
            ? <EmptyState title="No server matches">Try fewer letters, or clear the filters.</EmptyState>
            : <EmptyState icon={IconServer2} title="No server yet" action={add}>A server is a set of tools at one URL: statements on your database, operations of an API, another MCP server, or a package that runs here.</EmptyState>
        }
        columns={[
          {
            accessor: "title", title: "Server", render: (s) => (
              <div>
                <TextLink to="/servers/$server" params={{ server: s.slug }} fw={550} c="inherit" onClick={(e) => e.stopPropagation()}>{s.title || s.slug}</TextLink>
                <Text size="xs" c="dimmed" className="mono">{s.slug}</Text>
              </div>
            ),
          },
          { accessor: "status", width: 190, render: (s) => <Group gap={6}><ServerStatus status={s.status} />{s.discovering && <Badge color="accent">Being discovered</Badge>}{hasDraft(s) && <Badge color="amber">Revision {s.latest_revision} staged</Badge>}</Group> },
          { accessor: "health", width: 110, render: (s) => (s.status === "published" || s.health ? <HealthBadge state={s.health ?? "unknown"} quiet /> : null) },
          { accessor: "kind", width: 90, visibleMediaQuery: "(min-width: 900px)" },
          { accessor: "tools", width: 70, textAlign: "right", render: (s) => <span className="num">{s.tools ?? 0}</span> },
          { accessor: "active_revision", title: "Revision", width: 90, textAlign: "right", visibleMediaQuery: "(min-width: 1240px)", render: (s) => <span className="num">{s.active_revision ?? "none"}</span> },
          { accessor: "updated_at", title: "Changed", width: 130, visibleMediaQuery: "(min-width: 700px)", render: (s) => <RelativeTime at={s.updated_at} /> },
          {
            accessor: "mcp_url", title: "URL", width: 60, textAlign: "center", render: (s) => (
              // The row is a link too; copying must not follow it.
              // oxlint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-static-element-interactions
              <div onClick={(e) => e.stopPropagation()}>{s.status === "published" ? <CopyButton value={s.mcp_url} label={`Copy the MCP URL of ${s.slug}`} /> : null}</div>
            ),
          },
        ]}
      />
    </>
  );
}
