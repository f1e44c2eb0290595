import { Alert, Badge, Button, Drawer, Group, List, Stack, Text, Title, Tooltip } from "@mantine/core";
import { IconAlertTriangle, IconTrash } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { OffNotice, SwitchOffButton } from "~/safety/switch-off";
import { targets } from "~/safety/targets";
import { ConfirmDialog } from "~/ui/confirm";
import { CopyField } from "~/ui/copy";
import { Facts } from "~/ui/facts";
import { ButtonLink } from "~/ui/link";
import { Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";

export type Client = Schemas["Client"];

/** How far one can believe who an app says it is. */
export function identity(client: Pick<Client, "kind" | "id">): { label: string; says: string; verified: boolean } {
  if (client.kind === "console") return { label: "this console", says: "The console you are looking at.", verified: true };
  if (client.kind === "document") {
    const host = URL.canParse(client.id) ? new URL(client.id).host : client.id;
    return { label: `by ${host}`, says: `Its description is published at ${host}, so whoever runs that host answers for it. The name is still its own word.`, verified: true };
  }
  return { label: "name not verified", says: "It registered itself. Anybody can register under any name; look at where its answers go.", verified: false };
}

export function IdentityMark({ client }: { client: Pick<Client, "kind" | "id"> }) {
  const { label, says, verified } = identity(client);
  return <Tooltip label={says} multiline maw={300}><Badge color={verified ? "accent" : "amber"} tabIndex={0}>{label}</Badge></Tooltip>;
}

export function ClientDrawer({ id, onClose }: { id: string | undefined; onClose: () => void }) {
  return <Drawer opened={id !== undefined} onClose={onClose} title="App">{id && <Details key={id} id={id} onClose={onClose} />}</Drawer>;
}

function Details({ id, onClose }: { id: string; onClose: () => void }) {
  const can = useCan();
  const [deleting, setDeleting] = useState(false);
  const query = useQuery({
    queryKey: ["clients", "one", id],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/clients/{client}", { params: { path: at({ client: id }) }, signal })),
  });
  return (
    <Loaded query={query} rows={6}>
      {(c) => {
        const { says, verified } = identity(c);
        return (
          <Stack gap="md">
            <div>
              <Group gap={8}><Title order={2}>{c.name || "Without a name"}</Title><IdentityMark client={c} /></Group>
              {c.uri && <Text size="sm" c="dimmed">{c.uri}</Text>}
            </div>
            <OffNotice all={[targets.client(c.id)]} />
            {verified ? <Text size="sm">{says}</Text> : <Alert color="amber" icon={<IconAlertTriangle aria-hidden />}>{says}</Alert>}
            <Group gap="xs">
              <ButtonLink variant="default" to="/clients" search={{ tab: "grants", client: c.id }}>Its grants</ButtonLink>
              {can("audit:read") && <ButtonLink variant="default" to="/audit" search={{ client: c.id }}>Its calls</ButtonLink>}
              {c.kind !== "console" && <SwitchOffButton target={targets.client(c.id)} name={c.name || c.id} />}
              {can("clients:write") && c.kind !== "console" && <Button variant="light" color="red" leftSection={<IconTrash size={15} aria-hidden />} onClick={() => setDeleting(true)}>Delete</Button>}
            </Group>
            <Facts facts={Object.entries({
              "Grants in force": <span className="num">{c.grants}</span>,
              "Let in": c.authorized_at ? <RelativeTime at={c.authorized_at} /> : "by nobody yet",
              "Last used": <RelativeTime at={c.last_used_at} />,
              Registered: <RelativeTime at={c.created_at} />,
              "Authenticates by": c.auth_method === "none" ? "PKCE only: a public client" : c.auth_method,
            })} />
            <section>
              <Title order={3} mb={6}>Where its answers go</Title>
              <List size="sm" spacing={2}>{(c.redirect_uris ?? c.redirect_hosts).map((u) => <List.Item key={u}><span className="mono">{u}</span></List.Item>)}</List>
            </section>
            <section>
              <Title order={3} mb={6}>Client id</Title>
              <CopyField value={c.id} label="Client id" />
            </section>
            <DeleteClient client={c} opened={deleting} onClose={() => setDeleting(false)} onDone={onClose} />
          </Stack>
        );
      }}
    </Loaded>
  );
}

function DeleteClient({ client: c, opened, onClose, onDone }: { client: Client; opened: boolean; onClose: () => void; onDone: () => void }) {
  const queries = useQueryClient();
  const call = (dryRun: boolean) => body(api.DELETE("/tenants/{tenant}/clients/{client}", { params: { path: at({ client: c.id }), query: { dry_run: dryRun } } }));
  return (
    <ConfirmDialog
      opened={opened} onClose={onClose} title={`Delete ${c.name}`} action="Delete the app" danger dryRun={{ key: ["client", c.id], read: () => call(true) }}
      onConfirm={async () => {
        await call(false);
        toast.done(`${c.name} is deleted; its next call is refused.`);
        onDone();
        await queries.invalidateQueries({ predicate: ({ queryKey }) => ["clients", "grants", "find", "members"].includes(String(queryKey[0])) });
      }}
    >
      Its registration goes, and everybody's grants to it. Its next call is refused. An app that is still installed somewhere registers anew when its person connects it again, and asks them again.
    </ConfirmDialog>
  );
}
