import { ActionIcon, Badge, Button, Group, Menu, Modal, Stack, Text, VisuallyHidden } from "@mantine/core";
import { IconDots, IconMail, IconRefresh, IconTrash } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { FilterBar } from "~/ui/filter-bar";
import { ConfirmDialog } from "~/ui/confirm";
import { SecretOnce } from "~/ui/copy";
import { PagedTable, usePages } from "~/ui/paged-table";
import { EmptyState } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { useRefreshPeople, type Invitation } from "./api";
import { InvitationMark, invitationOptions } from "./marks";
import { people as route } from "./routes";

/** Who was asked in, and how far that is. */
export function Invitations({ onInvite }: { onInvite?: () => void }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const may = useCan()("members:write");
  const refresh = useRefreshPeople();
  const [revoking, setRevoking] = useState<Invitation>();
  const status = search.invited;
  const pages = usePages<Invitation>(["invitations", status], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/invitations", { params: { path: at(), query: { ...(status ? { status } : {}), limit: 50, ...(cursor ? { cursor } : {}) } }, signal })));
  const resend = useMutation({
    mutationFn: (i: Invitation) => body(api.POST("/tenants/{tenant}/invitations/{invitation}/resend", { params: { path: at({ invitation: i.id }) } })),
    onSuccess: refresh,
    onError: (error) => toast.problem(error, "The invitation was not renewed"),
  });
  return (
    <>
      <FilterBar search={search} onChange={(next) => void navigate({ search: next, replace: true })} filters={[{ kind: "choice", name: "invited", label: "Status", options: invitationOptions }]} />
      <PagedTable
        pages={pages} label="Invitations" one="invitation" rowKey="id"
        empty={<EmptyState icon={IconMail} title={status ? "No invitation is in this state" : "Nobody was invited yet"} action={!status && onInvite && <Button onClick={onInvite}>Invite people</Button>}>An invitation is a link with which a person chooses their password. It is good for a week unless you say otherwise.</EmptyState>}
        columns={[
          { accessor: "email", title: "Person", width: 240, render: (i) => <><Text size="sm" fw={520}>{i.name || i.email}</Text>{i.name && i.name !== i.email && <Text size="xs" c="dimmed">{i.email}</Text>}</> },
          { accessor: "roles", title: "Roles", width: 180, render: (i) => (i.roles.length === 0 ? <Text size="sm" c="dimmed">none</Text> : <Group gap={4}>{i.roles.map((r) => <Badge key={r}>{r}</Badge>)}</Group>) },
          { accessor: "status", title: "Status", width: 110, render: (i) => <InvitationMark status={i.status} /> },
          { accessor: "created_at", title: "Invited", width: 190, render: (i) => <><RelativeTime at={i.created_at} /><Text size="xs" c="dimmed">by {i.created_by}, {i.mailed ? "by mail" : "by link"}</Text></> },
          { accessor: "expires_at", title: "Link", width: 140, render: (i) => (i.status === "pending" ? <>ends <RelativeTime at={i.expires_at} /></> : i.status === "accepted" ? <>used <RelativeTime at={i.accepted_at} /></> : <Text span size="sm" c="dimmed">useless</Text>) },
          {
            accessor: "actions", title: <VisuallyHidden>Actions</VisuallyHidden>, width: 50, textAlign: "right",
            render: (i) => may && i.status !== "accepted" && (
              <Menu position="bottom-end" shadow="md" transitionProps={{ duration: 0 }}>
                <Menu.Target><ActionIcon aria-label={`Actions for the invitation of ${i.email}`}><IconDots size={16} aria-hidden /></ActionIcon></Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item leftSection={<IconRefresh size={15} aria-hidden />} onClick={() => resend.mutate(i)}>New link{i.mailed ? ", by mail" : ""}</Menu.Item>
                  {i.status === "pending" && <Menu.Item color="red" leftSection={<IconTrash size={15} aria-hidden />} onClick={() => setRevoking(i)}>Revoke</Menu.Item>}
                </Menu.Dropdown>
              </Menu>
            ),
          },
        ]}
      />
      <Modal opened={resend.data !== undefined} onClose={resend.reset} title={`A new link for ${resend.data?.invitation.email ?? ""}`}>
        {resend.data && (
          <Stack gap="md">
            <Text size="sm">{resend.data.mail_error ? `The mail could not be sent: ${resend.data.mail_error} The link is good all the same.` : resend.data.invitation.mailed ? "It was sent by mail, too." : "Hand it over in a way that nobody else reads."} The link before it ended.</Text>
            <SecretOnce value={resend.data.url} label="link">Whoever has it becomes this person.</SecretOnce>
            <Group justify="flex-end"><Button onClick={resend.reset}>Done</Button></Group>
          </Stack>
        )}
      </Modal>
      <ConfirmDialog
        opened={revoking !== undefined} onClose={() => setRevoking(undefined)} title="Revoke the invitation" action="Revoke the invitation" danger
        onConfirm={async () => {
          await body(api.DELETE("/tenants/{tenant}/invitations/{invitation}", { params: { path: at({ invitation: revoking!.id }) } }));
          toast.done(`The link of ${revoking!.email} is useless now.`);
          await refresh();
        }}
      >
        The link that {revoking?.email} has stops working at once. You can invite them again.
      </ConfirmDialog>
    </>
  );
}
