import { Alert, Button, Menu, Stack } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconDots, IconLogout, IconMail, IconTrash, IconUserOff, IconUserQuestion } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, at, body, type Tagged } from "~/api/client";
import { useCan, useMe } from "~/api/me";
import { isMissing } from "~/api/problem";
import { OffNotice, SwitchOffButton } from "~/safety/switch-off";
import { targets } from "~/safety/targets";
import { AccessSummary } from "~/ui/access-summary";
import { ConfirmDialog } from "~/ui/confirm";
import { Facts } from "~/ui/facts";
import { grantColumns, RevokeGrant, type Grant } from "~/ui/grants";
import { ButtonLink } from "~/ui/link";
import { Crumb, PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { Section } from "~/ui/section";
import { EmptyState, ErrorState, Loaded, LoadingState } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { endSessions, memberQuery, putMember, removeMember, statusOf, useRefreshPeople, type Member } from "./api";
import { InviteDialog } from "./invite";
import { MemberMark } from "./marks";
import { PersonForm } from "./person-form";
import { person as route } from "./routes";

/** One person: who they are, what they can call, which apps they let in. */
export function Page() {
  const { member } = route.useParams();
  const query = useQuery(memberQuery(member));
  const trail = <Crumb to="/people">People</Crumb>;
  if (query.data) return <Person key={query.data.data.id} read={query.data} onReload={() => void query.refetch()} />;
  return (
    <>
      <PageHeader title={member} trail={trail} />
      {!query.isError ? <LoadingState rows={6} /> : isMissing(query.error) ? (
        <EmptyState icon={IconUserQuestion} title="There is no such person" action={<ButtonLink to="/people" variant="default">All people</ButtonLink>}>They may have been removed. What they did stays in the audit.</EmptyState>
      ) : <ErrorState error={query.error} onRetry={() => void query.refetch()} />}
    </>
  );
}

function Person({ read, onReload }: { read: Tagged<Member>; onReload: () => void }) {
  const can = useCan();
  const m = read.data;
  const access = useQuery({
    queryKey: ["members", m.email, "access"],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/members/{member}/access", { params: { path: at({ member: m.email }) }, signal })),
  });
  return (
    <>
      <PageHeader title={m.name || m.email} trail={<Crumb to="/people">People</Crumb>} badge={<MemberMark status={statusOf(m)} />} actions={<Actions read={read} />}>{m.name ? m.email : undefined}</PageHeader>
      <Stack gap="md">
        <OffNotice all={[targets.member(m.email), targets.member(m.id)]} />
        {m.disabled && <Alert color="amber" icon={<IconUserOff aria-hidden />}>This account is disabled: they cannot sign in, and whatever their apps call is refused.</Alert>}
        {!m.has_password && !m.disabled && <Alert color="accent" icon={<IconMail aria-hidden />}>They have no password yet. An invitation gives them the way to one.</Alert>}
        <Section title="Who they are"><PersonForm key={read.etag} read={read} onReload={onReload} editable={can("members:write")} /></Section>
        <Facts facts={Object.entries({ "Member since": <RelativeTime at={m.created_at} />, "Last in a browser": <RelativeTime at={m.last_seen_at} />, Id: <span className="mono">{m.id}</span> })} />
        <Section title="What they can call" says="What any of their roles opens. An app gets of it what they allow it." actions={can("roles:read") && <ButtonLink to="/access" search={{ person: m.email }} variant="default">Open in access</ButtonLink>}>
          <Loaded query={access} rows={4}>{(a) => <AccessSummary access={a} />}</Loaded>
        </Section>
        {can("clients:read") && <Grants member={m} />}
      </Stack>
    </>
  );
}

function Grants({ member }: { member: Member }) {
  const can = useCan();
  const [revoking, setRevoking] = useState<Grant>();
  const pages = usePages<Grant>(["grants", "of", member.id], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/grants", { params: { path: at(), query: { member: member.email, limit: 50, ...(cursor ? { cursor } : {}) } }, signal })));
  return (
    <Section title="Apps they let in" says="Newest first.">
      <PagedTable
        pages={pages} label={`Grants of ${member.email}`} one="grant" rowKey="id" columns={grantColumns({ person: false, onRevoke: can("clients:write") ? setRevoking : undefined, audit: can("audit:read") })}
        empty={<EmptyState compact title="No app yet">They have not connected a client.</EmptyState>}
      />
      <RevokeGrant grant={revoking} onClose={() => setRevoking(undefined)} />
    </Section>
  );
}

function Actions({ read }: { read: Tagged<Member> }) {
  const can = useCan();
  const me = useMe();
  const go = useNavigate();
  const refresh = useRefreshPeople();
  const [asked, setAsked] = useState<"disable" | "enable" | "sessions" | "remove">();
  const [inviting, invite] = useDisclosure();
  const m = read.data;
  const self = me.id === m.id;
  const close = () => setAsked(undefined);
  const setDisabled = async (disabled: boolean) => {
    await putMember(m.email, { ...m, disabled }, read.etag);
    toast.done(disabled ? `${m.email} is disabled; their next call is refused.` : `${m.email} can sign in and call again.`);
    await refresh();
  };
  return (
    <>
      {can("audit:read") && <ButtonLink to="/audit" search={{ member: m.email }} variant="default">What they did</ButtonLink>}
      <SwitchOffButton target={targets.member(m.email)} name={m.name || m.email} />
      {can("members:write") && (
        <Menu position="bottom-end" shadow="md" transitionProps={{ duration: 0 }}>
          <Menu.Target><Button variant="default" rightSection={<IconDots size={15} aria-hidden />}>Actions</Button></Menu.Target>
          <Menu.Dropdown>
            <Menu.Item leftSection={<IconMail size={15} aria-hidden />} onClick={invite.open}>{m.has_password ? "Send a way to a new password" : "Invite"}</Menu.Item>
            <Menu.Item leftSection={<IconLogout size={15} aria-hidden />} onClick={() => setAsked("sessions")}>Sign out everywhere</Menu.Item>
            <Menu.Item leftSection={<IconUserOff size={15} aria-hidden />} onClick={() => setAsked(m.disabled ? "enable" : "disable")}>{m.disabled ? "Enable" : "Disable"}</Menu.Item>
            <Menu.Divider />
            <Menu.Item color="red" leftSection={<IconTrash size={15} aria-hidden />} onClick={() => setAsked("remove")}>Remove</Menu.Item>
          </Menu.Dropdown>
        </Menu>
      )}
      <InviteDialog opened={inviting} onClose={invite.close} address={m.email} />
      <ConfirmDialog opened={asked === "disable"} onClose={close} title={`Disable ${m.email}`} action="Disable" danger onConfirm={() => setDisabled(true)}>
        They are signed out of every browser, and the next call of each of their apps is refused. Nothing is deleted: enabling them again brings all of it back.{self && " This is your own account."}
      </ConfirmDialog>
      <ConfirmDialog opened={asked === "enable"} onClose={close} title={`Enable ${m.email}`} action="Enable" onConfirm={() => setDisabled(false)}>
        They can sign in again, and the apps they let in work again where their grants have not expired.
      </ConfirmDialog>
      <ConfirmDialog opened={asked === "sessions"} onClose={close} title="Sign out everywhere" action="Sign out everywhere"
        onConfirm={async () => { await endSessions(m.email); toast.done(`${m.email} is signed out of every browser.`); await refresh(); }}>
        {self ? "You are" : `${m.email} is`} signed out of every browser at once. Apps that they let in go on; to stop those too, disable the account or revoke the grants.
      </ConfirmDialog>
      <ConfirmDialog
        opened={asked === "remove"} onClose={close} title={`Remove ${m.email}`} action="Remove" danger typed={m.email}
        dryRun={{ key: ["member", m.email], read: () => removeMember(m.email, true) }}
        onConfirm={async () => {
          await removeMember(m.email, false, read.etag);
          toast.done(`${m.email} is removed.`);
          await go({ to: "/people" });
          await refresh();
        }}
      >
        They cannot sign in any more and what their apps call is refused. Audit records keep their id.{self && " This is your own account: you lose access to this console."}
      </ConfirmDialog>
    </>
  );
}
