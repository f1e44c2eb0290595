import { Text } from "@mantine/core";
import { IconTool } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { isFiltered } from "~/lib/filters";
import { duration } from "~/lib/time";
import { list } from "~/lib/words";
import { ToolMarks } from "~/safety/tool-marks";
import { FilterBar } from "~/ui/filter-bar";
import { ButtonLink, TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { RiskMark, riskOptions } from "~/ui/risk";
import { EmptyState } from "~/ui/states";
import { tools as route } from "./routes";

type Tool = Schemas["Tool"];

/** The tools of all servers together. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const options = useFilterOptions();
  const pages = usePages<Tool & { key: string }>(["tools", search], async (cursor, signal) => {
    const page = await body(api.GET("/tenants/{tenant}/tools", { params: { path: at(), query: { ...search, cursor, limit: 100 } }, signal }));
    return { ...page, data: page.data.map((t) => ({ ...t, key: `${t.server} ${t.name}` })) };
  });
  return (
    <>
      <PageHeader title="Tools">Everything that can be called, over all servers, and which roles open it.</PageHeader>
      <FilterBar
        search={search} onChange={(next) => void navigate({ search: next, replace: true })}
        filters={[
          { kind: "text", name: "q", label: "Name or title", width: 220 },
          { kind: "choice", name: "server", label: "Server", options: options.servers, searchable: true },
          { kind: "choice", name: "risk", label: "Risk", options: riskOptions, width: 170 },
          { kind: "choice", name: "scope", label: "Scope", options: options.scopes, searchable: true, width: 180 },
          ...(can("roles:read") ? [{ kind: "choice", name: "role", label: "Opened by role", options: options.roles, searchable: true } as const] : []),
        ]}
      />
      <PagedTable
        pages={pages} label="Tools" one="tool" rowKey="key"
        onRowClick={(t) => void navigate({ to: "/tools/$server/$tool", params: { server: t.server, tool: t.name } })}
        empty={
          isFiltered(search)
            ? <EmptyState title="No tool matches">Try fewer filters.</EmptyState>
            : <EmptyState icon={IconTool} title="No tool yet" action={can("servers:write") && <ButtonLink to="/add-server">Add a server</ButtonLink>}>Tools come with servers.</EmptyState>
        }
        columns={[
          {
            accessor: "title", title: "Tool", render: (t) => (
              <div>
                <TextLink to="/tools/$server/$tool" params={{ server: t.server, tool: t.name }} fw={550} c="inherit" onClick={(e) => e.stopPropagation()}>{t.title || t.name}</TextLink>
                <Text size="xs" c="dimmed" className="mono">{t.name}</Text>
                <ToolMarks tool={t} />
              </div>
            ),
          },
          { accessor: "server", width: 140, render: (t) => <span className="mono">{t.server}</span> },
          { accessor: "risk", width: 160, render: (t) => <RiskMark risk={t.risk} /> },
          { accessor: "scope", width: 180, render: (t) => <span className="mono">{t.scope}</span> },
          { accessor: "roles", title: "Opened by", visibleMediaQuery: "(min-width: 900px)", render: (t) => (t.roles?.length ? list(t.roles, 3) : <Text span size="sm" c="var(--lk-warn)">no role</Text>) },
          { accessor: "timeout_ms", title: "Timeout", width: 90, textAlign: "right", visibleMediaQuery: "(min-width: 1100px)", render: (t) => <span className="num">{duration(t.timeout_ms)}</span> },
        ]}
      />
    </>
  );
}

/** What the filters offer; without the rights to read it, just what stands in the URL. */
function useFilterOptions() {
  const can = useCan();
  const search = route.useSearch();
  const servers = useQuery({
    queryKey: ["servers", "names"],
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/servers", { params: { path: at(), query: { limit: 200 } }, signal }))).data.map((s) => s.slug),
  });
  const roles = useQuery({
    queryKey: ["roles", "names", "strings"],
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/roles", { params: { path: at(), query: { limit: 200 } }, signal }))).data.map((r) => r.name),
    enabled: can("roles:read"),
  });
  const scopes = useQuery({
    queryKey: ["scopes", "names"],
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/scopes", { params: { path: at(), query: { limit: 200 } }, signal }))).data.map((s) => s.scope),
    enabled: can("roles:read"),
  });
  return { servers: withOwn(servers.data, search.server), roles: withOwn(roles.data, search.role), scopes: withOwn(scopes.data, search.scope) };
}

/** What was found, and what is chosen already in case it was not among it. */
function withOwn(found: string[] | undefined, own: string | undefined): string[] {
  return [...new Set([...(own ? [own] : []), ...(found ?? [])])].toSorted();
}
