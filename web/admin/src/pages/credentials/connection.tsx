import { Alert, Badge, Button, Drawer, Group, Stack, Text, Title } from "@mantine/core";
import { IconPlugConnectedX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { ConnectionEdit } from "~/connection/edit";
import { connectionQuery, issuedQuery } from "~/connection/queries";
import { stateOf } from "~/connection/state";
import { JsonView } from "~/ui/code";
import { Facts } from "~/ui/facts";
import { ButtonLink } from "~/ui/link";
import { Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";

export function ConnectionDrawer({ server, onClose }: { server: string | undefined; onClose: () => void }) {
  return <Drawer opened={server !== undefined} onClose={onClose} title={`Credentials of ${server ?? ""}`}>{server && <Body key={server} server={server} />}</Drawer>;
}

function Body({ server }: { server: string }) {
  const can = useCan();
  const [editing, setEditing] = useState(false);
  const query = useQuery({ ...connectionQuery(server), refetchOnWindowFocus: !editing });
  return (
    <Loaded query={query} rows={7}>
      {(read) => editing
        ? <ConnectionEdit key={read.etag} server={server} read={read} onDone={() => setEditing(false)} onReload={() => void query.refetch()} />
        : <Shown connection={read.data} onEdit={can("servers:write") && read.data.kind === "sql" ? () => setEditing(true) : undefined} />}
    </Loaded>
  );
}

function Shown({ connection: c, onEdit }: { connection: Schemas["Connection"]; onEdit?: () => void }) {
  const can = useCan();
  const query = useQuery(issuedQuery(c.server));
  const use = query.data ?? undefined;
  const state = use && stateOf(use);
  return (
    <Stack gap="md">
      {use && state?.failing && <Alert color="red" icon={<IconPlugConnectedX aria-hidden />} title="The last credential could not be issued">{use.last_failure} Calls of this server fail until one can be.</Alert>}
      {c.source && <Text>{c.source}</Text>}
      <Group gap="xs">
        {onEdit && <Button onClick={onEdit}>Change the connection</Button>}
        <ButtonLink variant="default" to="/servers/$server" params={{ server: c.server }}>The server</ButtonLink>
        {can("audit:read") && <ButtonLink variant="default" to="/audit" search={{ server: c.server, code: "credentials_unavailable" }}>Calls that got none</ButtonLink>}
      </Group>
      <Facts facts={Object.entries({
        State: state ? <Badge color={state.color}>{state.label}</Badge> : query.isError ? "not known" : "",
        "Last issued": <RelativeTime at={use?.last_issued_at} />,
        "Last failure": use?.last_failed_at ? <><RelativeTime at={use.last_failed_at} />{use.last_failure && <>: {use.last_failure}</>}</> : use && "none",
        "Kept in Vault": c.secrets_set.length === 0 ? "nothing" : <Group gap={6}>{c.secrets_set.map((s) => <span key={s}><span className="mono">{s}</span> <Badge color="green">set</Badge></span>)}</Group>,
      })} />
      <section>
        <Title order={3} mb={6}>As declared, without secrets</Title>
        <JsonView value={c.connection ?? {}} label={`Connection of ${c.server}`} maxHeight={300} />
      </section>
    </Stack>
  );
}
