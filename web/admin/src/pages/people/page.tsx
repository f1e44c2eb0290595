import { Button, Group, Tabs, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconMail, IconUserPlus, IconUsers } from "@tabler/icons-react";
import { useNavigate } from "@tanstack/react-router";
import { api, at, body } from "~/api/client";
import { useRoleChoices } from "~/api/choices";
import { useCan } from "~/api/me";
import { isFiltered, withFilter } from "~/lib/filters";
import { count } from "~/lib/words";
import { FilterBar } from "~/ui/filter-bar";
import { TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { statusOf, type Member } from "./api";
import { Invitations } from "./invitations";
import { InviteDialog } from "./invite";
import { MemberMark, statusOptions } from "./marks";
import { NewMember } from "./new-member";
import { RolesCell } from "./roles-cell";
import { people as route } from "./routes";

/** Who belongs to the tenant, and who was asked to. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const [inviting, invite] = useDisclosure();
  const [adding, add] = useDisclosure();
  const may = can("members:write");
  return (
    <>
      <PageHeader
        title="People"
        actions={may && (
          <>
            <Button variant="default" leftSection={<IconUserPlus size={15} aria-hidden />} onClick={add.open}>New member</Button>
            <Button leftSection={<IconMail size={15} aria-hidden />} onClick={invite.open}>Invite people</Button>
          </>
        )}
      >
        What a person may call follows from their roles. Each app they connect gets of that what they allow it.
      </PageHeader>
      <Tabs value={search.tab ?? "members"} onChange={(tab) => void navigate({ search: tab === "invitations" ? { tab } : {}, replace: true })}>
        <Tabs.List mb="md" aria-label="People">
          <Tabs.Tab value="members">Members</Tabs.Tab>
          <Tabs.Tab value="invitations">Invitations</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="members"><Members onInvite={may ? invite.open : undefined} /></Tabs.Panel>
        <Tabs.Panel value="invitations"><Invitations onInvite={may ? invite.open : undefined} /></Tabs.Panel>
      </Tabs>
      <InviteDialog opened={inviting} onClose={invite.close} />
      <NewMember opened={adding} onClose={add.close} />
    </>
  );
}

function Members({ onInvite }: { onInvite?: () => void }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const go = useNavigate();
  const may = useCan()("members:write");
  const roles = useRoleChoices();
  const { q, role, status } = search;
  const query = withFilter({}, { q, role, status });
  const pages = usePages<Member>(["members", "list", query], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/members", { params: { path: at(), query: { ...query, limit: 50, ...(cursor ? { cursor } : {}) } }, signal })));
  const filtered = isFiltered(query);
  return (
    <>
      <FilterBar search={search} onChange={(next) => void navigate({ search: next, replace: true })} filters={[
        { kind: "text", name: "q", label: "Name or address" },
        { kind: "choice", name: "role", label: "Role", options: roles.data?.map((r) => r.name) ?? [], searchable: true },
        { kind: "choice", name: "status", label: "Status", options: statusOptions, width: 170 },
      ]} />
      <PagedTable
        pages={pages} label="Members" one="person" many="people" rowKey="id" onRowClick={(m) => void go({ to: "/people/$member", params: { member: m.email } })}
        empty={filtered ? (
          <EmptyState icon={IconUsers} title="Nobody matches">Take a filter away.</EmptyState>
        ) : (
          <EmptyState icon={IconUsers} title="Nobody is here yet" action={onInvite && <Button onClick={onInvite}>Invite people</Button>}>Whoever you invite signs in with a password of their own and can then connect their apps.</EmptyState>
        )}
        columns={[
          {
            accessor: "email", title: "Person", width: 260,
            render: (m) => (
              <>
                <TextLink to="/people/$member" params={{ member: m.email }} fw={520} onClick={(e) => e.stopPropagation()}>{m.name || m.email}</TextLink>
                {m.name && <Text size="xs" c="dimmed">{m.email}</Text>}
              </>
            ),
          },
          { accessor: "roles", title: "Roles", width: 300, render: (m) => <RolesCell member={m} editable={may} /> },
          { accessor: "status", title: "Status", width: 130, render: (m) => <MemberMark status={statusOf(m)} /> },
          { accessor: "grants", title: "Apps", width: 90, render: (m) => <span className="num">{m.grants ? count(m.grants, "app") : "none"}</span> },
          { accessor: "last_seen_at", title: "In a browser", width: 130, render: (m) => <RelativeTime at={m.last_seen_at} /> },
        ]}
      />
      {!pages.isPending && !may && <Group mt="xs"><Text size="xs" c="dimmed">You see people and cannot change them; that needs members:write.</Text></Group>}
    </>
  );
}
