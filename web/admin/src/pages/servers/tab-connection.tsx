import { Alert, Button, Group, Stack } from "@mantine/core";
import { IconPlugConnectedX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { fieldsOf } from "~/connection/declared";
import { ConnectionEdit } from "~/connection/edit";
import { DeclaredEdit } from "~/connection/edit-declared";
import { connectionQuery, issuedQuery } from "~/connection/queries";
import { fromDeclared } from "~/connection/sql";
import { stateOf } from "~/connection/state";
import { list } from "~/lib/words";
import { JsonView } from "~/ui/code";
import { Facts } from "~/ui/facts";
import { EmptyState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { Account } from "./account";
import type { Server } from "./queries";

/** Where the server's credentials come from. A secret is written here and never read. */
export function ConnectionTab({ server: s }: { server: Server }) {
  const can = useCan();
  const [editing, setEditing] = useState(false);
  const query = useQuery({ ...connectionQuery(s.slug), refetchOnWindowFocus: !editing });
  const fields = fieldsOf[s.kind];
  const onEdit = can("servers:write") && (s.kind === "sql" || fields) ? () => setEditing(true) : undefined;
  return (
    <Loaded query={query}>
      {(read) => editing && fields ? <DeclaredEdit key={read.etag} fields={fields} server={s.slug} read={read} onDone={() => setEditing(false)} onReload={() => void query.refetch()} />
        : editing ? <ConnectionEdit key={read.etag} server={s.slug} read={read} onDone={() => setEditing(false)} onReload={() => void query.refetch()} />
        : Object.keys(read.data.connection ?? {}).length > 0 ? <Shown server={s} connection={read.data} onEdit={onEdit} />
        : <EmptyState title="No connection yet" action={onEdit && <Button onClick={onEdit}>Set it up</Button>}>Tools of this server cannot run without one.</EmptyState>}
    </Loaded>
  );
}

const oauth = (c: Schemas["Connection"]) => (c.connection?.auth as { type?: unknown } | undefined)?.type === "oauth";

function Shown({ server, connection: c, onEdit }: { server: Server; connection: Schemas["Connection"]; onEdit?: () => void }) {
  const use = useQuery(issuedQuery(c.server)).data;
  const sql = c.kind === "sql" ? fromDeclared(c.connection) : undefined;
  return (
    <Stack gap="md" maw={720}>
      {use && stateOf(use).failing && (
        <Alert color="red" icon={<IconPlugConnectedX aria-hidden />} title="The last credential could not be issued">
          {use.last_failure} <RelativeTime at={use.last_failed_at} />
        </Alert>
      )}
      {oauth(c) && <Account server={server} />}
      <Facts facts={[
        ["Credentials", c.source],
        ["Last issued", use && <RelativeTime key="at" at={use.last_issued_at} />],
        ["Host", sql?.host && `${sql.host}:${sql.port}`],
        ["Database", sql?.database],
        ["Encryption", sql?.host && sql.sslmode],
        ["Vault's account", sql?.username],
        ["Reading", sql && list(sql.read)],
        ["Writing", sql?.host && (list(sql.write) || "not allowed")],
        ["In Vault", c.secrets_set.length ? list(c.secrets_set) : undefined],
      ]} />
      {!sql && c.connection && <JsonView value={c.connection} label="Connection as declared" />}
      {onEdit && <Group justify="flex-end"><Button variant="default" onClick={onEdit}>Change the connection</Button></Group>}
    </Stack>
  );
}
