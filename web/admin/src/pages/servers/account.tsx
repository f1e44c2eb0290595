import { Alert, Badge, Button, Group, Stack, Table, Text, VisuallyHidden } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconKeyOff, IconPlugConnected } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { accountQuery } from "~/api/upstreams";
import { list } from "~/lib/words";
import { ConfirmDialog } from "~/ui/confirm";
import { Facts } from "~/ui/facts";
import { TextLink } from "~/ui/link";
import { Section } from "~/ui/section";
import { EmptyState, ErrorState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { visit } from "./visit";
import type { Server } from "./queries";

type UpstreamAccount = Schemas["UpstreamAccount"];

const states: Record<UpstreamAccount["state"], { label: string; color: string }> = {
  none: { label: "Not connected", color: "amber" },
  connected: { label: "Connected", color: "green" },
  expired: { label: "To connect again", color: "red" },
};

const known = { given: "by the client id of the connection", document: "by its metadata document", registered: "by registration" } as const;

/** The accounts that a server's calls run with at its upstream: one of the tenant's, or each person's own. */
export function Account({ server: s }: { server: Server }) {
  const query = useQuery(accountQuery(s.slug));
  return <Loaded query={query} rows={3}>{(account) => (account.per === "user" ? <Persons server={s} account={account} /> : <Ours server={s} account={account} />)}</Loaded>;
}

function Ours({ server: s, account: a }: { server: Server; account: UpstreamAccount }) {
  const can = useCan();
  const client = useQueryClient();
  const [asking, ask] = useDisclosure();
  const connect = useMutation({
    mutationFn: () => body(api.POST("/tenants/{tenant}/servers/{server}/account/authorization", { params: { path: at({ server: s.slug }) } })),
    onSuccess: ({ url }) => visit(url),
  });
  const { label, color } = states[a.state];
  return (
    <Section title="Account at the upstream" says="Calls of this server run with one account of yours. Its tokens are in Vault, and never here."
      actions={can("servers:write") && (
        <Group gap="xs">
          {a.state !== "none" && <Button variant="default" onClick={ask.open}>Disconnect</Button>}
          <Button variant={a.state === "connected" ? "default" : "filled"} leftSection={<IconPlugConnected size={15} aria-hidden />} loading={connect.isPending || connect.isSuccess} onClick={() => connect.mutate()}>{a.state === "none" ? "Connect" : "Connect again"}</Button>
        </Group>
      )}>
      <Stack gap="sm">
        {a.state === "expired" && <Alert color="red" icon={<IconKeyOff aria-hidden />} title="The upstream renews it no more">{a.failure} Calls fail until somebody connects it again.</Alert>}
        {connect.isError && <ErrorState error={connect.error} title="The upstream could not be asked" />}
        <Facts label="Account" facts={[["State", <Badge key="state" color={color}>{label}</Badge>], ...factsOf(a)]} />
      </Stack>
      <ConfirmDialog opened={asking} onClose={ask.close} title="Disconnect the account" action="Disconnect" danger onConfirm={async () => {
        await body(api.DELETE("/tenants/{tenant}/servers/{server}/account", { params: { path: at({ server: s.slug }) } }));
        toast.done("The account is disconnected.");
        await client.invalidateQueries({ queryKey: ["servers", s.slug] });
      }}>
        Its tokens are removed from Vault and revoked at the upstream. Calls of {s.title || s.slug} fail until an account is connected again.
      </ConfirmDialog>
    </Section>
  );
}

const factsOf = (a: UpstreamAccount) => [
  ["Connected", a.connected_at && <span key="connected"><RelativeTime at={a.connected_at} />{a.connected_by && <> by {a.connected_by}</>}</span>],
  ["Renewed", a.renewed_at && <RelativeTime key="renewed" at={a.renewed_at} />],
  ["Authorization server", a.issuer],
  ["Known there as", a.client && <span key="client"><span className="mono">{a.client}</span>{a.registration && <Text span size="xs" c="dimmed"> {known[a.registration]}</Text>}</span>],
  ["Scopes", a.scopes.length > 0 && <span key="scopes" className="mono">{list(a.scopes)}</span>],
] as const;

function Persons({ server: s, account }: { server: Server; account: UpstreamAccount }) {
  const can = useCan();
  const client = useQueryClient();
  const [member, setMember] = useState<string>();
  const query = useQuery({
    queryKey: ["servers", s.slug, "accounts"],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/servers/{server}/accounts", { params: { path: at({ server: s.slug }) }, signal })),
  });
  return (
    <Section title="Accounts of persons" says="Each call runs with the caller's own account. Who has none gets a link to connect it when a tool needs it.">
      {account.issuer && <Text size="sm" c="dimmed" mb="sm">They sign in at {account.issuer}.</Text>}
      <Loaded query={query} rows={3}>
        {({ data }) => data.length === 0 ? <EmptyState compact icon={IconPlugConnected} title="Nobody has connected one yet">It stands here when somebody has.</EmptyState> : (
          <Table.ScrollContainer minWidth={480} type="native" tabIndex={0} role="region" aria-label="Accounts of persons">
            <Table>
              <Table.Thead><Table.Tr><Table.Th scope="col">Person</Table.Th><Table.Th scope="col">State</Table.Th><Table.Th scope="col">Connected</Table.Th><Table.Th scope="col"><VisuallyHidden>Actions</VisuallyHidden></Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>
                {data.map((a) => (
                  <Table.Tr key={a.member}>
                    <Table.Td>{a.member && can("members:read") ? <TextLink to="/people/$member" params={{ member: a.member }}>{a.member}</TextLink> : a.member}</Table.Td>
                    <Table.Td><Badge color={states[a.state].color}>{states[a.state].label}</Badge>{a.failure && <Text size="xs" c="dimmed">{a.failure}</Text>}</Table.Td>
                    <Table.Td><RelativeTime at={a.connected_at} /></Table.Td>
                    <Table.Td ta="end">{can("servers:write") && <Button variant="subtle" color="red" size="compact-sm" aria-label={`Disconnect ${a.member}`} onClick={() => setMember(a.member)}>Disconnect</Button>}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </Loaded>
      <ConfirmDialog opened={member !== undefined} onClose={() => setMember(undefined)} title={`Disconnect the account of ${member ?? ""}`} action="Disconnect" danger onConfirm={async () => {
        await body(api.DELETE("/tenants/{tenant}/servers/{server}/accounts/{member}", { params: { path: at({ server: s.slug, member: member! }) } }));
        toast.done(`The account of ${member} is disconnected.`);
        await client.invalidateQueries({ queryKey: ["servers", s.slug] });
      }}>
        Its tokens are removed and revoked. They can connect it again whenever a tool needs it.
      </ConfirmDialog>
    </Section>
  );
}
