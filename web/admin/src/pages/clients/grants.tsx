import { Group, Pill } from "@mantine/core";
import { IconPlugConnected } from "@tabler/icons-react";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useClientChoices, useMemberChoices, useServerChoices } from "~/api/choices";
import { useCan } from "~/api/me";
import { isFiltered, withFilter } from "~/lib/filters";
import { FilterBar } from "~/ui/filter-bar";
import { grantColumns, grantOptions, RevokeGrant, type Grant } from "~/ui/grants";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState } from "~/ui/states";
import { SuggestField } from "~/ui/suggest-field";
import { clients as route } from "./routes";

/** Who let which app do what. */
export function Grants() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const members = useMemberChoices();
  const servers = useServerChoices();
  const apps = useClientChoices();
  const [revoking, setRevoking] = useState<Grant>();
  const { member, server, client, status } = search;
  const query = withFilter({}, { member, server, client, status });
  const set = (patch: Partial<typeof search>) => void navigate({ search: withFilter(search, patch), replace: true });
  const pages = usePages<Grant>(["grants", "list", query], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/grants", { params: { path: at(), query: { ...query, limit: 50, ...(cursor ? { cursor } : {}) } }, signal })));
  return (
    <>
      <Group gap="xs" align="flex-start">
        <SuggestField label="Person" value={member} suggestions={members} onChange={(v) => set({ member: v })} />
        <SuggestField label="Server" width={150} value={server} suggestions={servers} onChange={(v) => set({ server: v })} />
        <FilterBar search={search} onChange={(next) => void navigate({ search: next, replace: true })} filters={[{ kind: "choice", name: "status", label: "Status", options: grantOptions, width: 130 }]} />
        {client && <Pill size="lg" withRemoveButton onRemove={() => set({ client: undefined })} removeButtonProps={{ "aria-label": "Remove the filter App", "aria-hidden": false, tabIndex: 0 }}>App: {apps.find((a) => a.value === client)?.label ?? client}</Pill>}
      </Group>
      <PagedTable
        pages={pages} label="Grants" one="grant" rowKey="id" columns={grantColumns({ person: true, onRevoke: can("clients:write") ? setRevoking : undefined, audit: can("audit:read") })}
        empty={isFiltered(query) ? <EmptyState icon={IconPlugConnected} title="No grant matches">Take a filter away.</EmptyState> : <EmptyState icon={IconPlugConnected} title="Nobody let an app in yet">When a person connects a client and ticks what it may do, it stands here.</EmptyState>}
      />
      <RevokeGrant grant={revoking} onClose={() => setRevoking(undefined)} />
    </>
  );
}
