import { Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { DataTable } from "mantine-datatable";
import { list } from "~/lib/words";
import { ToolMarks } from "~/safety/tool-marks";
import { TextLink } from "~/ui/link";
import tables from "~/ui/paged-table.module.css";
import { RiskMark } from "~/ui/risk";
import { EmptyState, Loaded } from "~/ui/states";
import { duration } from "~/lib/time";
import { openedQuery, revisionQuery, type Server } from "./queries";

/** The tools of what is served, or of the newest revision of a draft. */
export function ToolsTab({ server: s }: { server: Server }) {
  const shown = s.active_revision ?? s.latest_revision;
  const query = useQuery({ ...revisionQuery(s.slug, shown ?? 1), enabled: shown !== undefined });
  const opened = useQuery({ ...openedQuery(s.slug), enabled: s.active_revision !== undefined }).data;
  if (shown === undefined) return <EmptyState title="No revision yet">Write a spec; its tools appear here.</EmptyState>;
  return (
    <Loaded query={query}>
      {({ tools }) => tools.length === 0 ? <EmptyState title="This server has no tools" /> : (
        <DataTable
          records={tools} idAccessor="name" className={tables.table} withTableBorder={false} borderRadius="lg" fz="sm" verticalSpacing={9} minHeight={0}
          scrollAreaProps={{ viewportProps: { tabIndex: 0, role: "region", "aria-label": "Tools" } }}
          columns={[
            {
              accessor: "title", title: "Tool", render: (t) => (
                <div>
                  <TextLink to="/tools/$server/$tool" params={{ server: s.slug, tool: t.name }} fw={550} c="inherit">{t.title || t.name}</TextLink>
                  <Text size="xs" c="dimmed" className="mono">{t.name}</Text>
                  <ToolMarks tool={t} />
                </div>
              ),
            },
            { accessor: "risk", width: 150, render: (t) => <RiskMark risk={t.risk} /> },
            { accessor: "scope", width: 170, render: (t) => <span className="mono">{t.scope}</span> },
            { accessor: "roles", title: "Opened by", visibleMediaQuery: "(min-width: 800px)", render: (t) => <OpenedBy roles={opened?.get(t.name)} /> },
            { accessor: "timeout_ms", title: "Timeout", width: 90, textAlign: "right", visibleMediaQuery: "(min-width: 800px)", render: (t) => <span className="num">{duration(t.timeout_ms)}</span> },
          ]}
        />
      )}
    </Loaded>
  );
}

/** Says nothing while it is not known, such as of a draft. */
function OpenedBy({ roles }: { roles?: readonly string[] }) {
  if (roles === undefined) return null;
  return roles.length > 0 ? list(roles, 3) : <Text span size="sm" c="var(--lk-warn)">no role</Text>;
}
