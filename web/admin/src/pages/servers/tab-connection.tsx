import { Alert, Button, Group, Stack, Text } from "@mantine/core";
import { useForm } from "@mantine/form";
import { IconPlugConnectedX } from "@tabler/icons-react";
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body, tagged, type Schemas, type Tagged } from "~/api/client";
import { useCan } from "~/api/me";
import { isMissing, isStale } from "~/api/problem";
import { zodValidate } from "~/lib/form";
import { list } from "~/lib/words";
import { JsonView } from "~/ui/code";
import { Facts } from "~/ui/facts";
import { StaleAlert } from "~/ui/stale";
import { EmptyState, ErrorState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { showConnectionProblem } from "./connection-problem";
import { ConnectionFields } from "./connection-form";
import type { Server } from "./queries";
import { fromDeclared, SQLConnection, toDeclared } from "./sql-connection";

type Connection = Schemas["Connection"];

const connectionQuery = (server: string) => queryOptions({
  queryKey: ["servers", server, "connection"],
  queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}/servers/{server}/connection", { params: { path: at({ server }) }, signal })),
});

/** When credentials were issued: told by the list only, as it changes with every call and would make each read of the connection a new version. */
const issuing = (server: string) => queryOptions({
  queryKey: ["connections", "use", server],
  queryFn: async ({ signal }) => {
    let cursor: string | undefined;
    do {
      const page = await body(api.GET("/tenants/{tenant}/connections", { params: { path: at(), query: { cursor, limit: 200 } }, signal }));
      const found = page.data.find((c) => c.server === server);
      if (found) return found;
      cursor = page.has_more ? page.next_cursor : undefined;
    } while (cursor);
    return null;
  },
});

/** Where the server's credentials come from. A secret is written here and never read. */
export function ConnectionTab({ server: s }: { server: Server }) {
  const query = useQuery(connectionQuery(s.slug));
  const can = useCan();
  const [editing, setEditing] = useState(false);
  if (isMissing(query.error)) {
    return editing
      ? <Edit server={s.slug} onDone={() => setEditing(false)} onReload={() => void query.refetch()} />
      : <EmptyState title="No connection yet" action={can("servers:write") && <Button onClick={() => setEditing(true)}>Set it up</Button>}>Tools of this server cannot run without one.</EmptyState>;
  }
  return (
    <Loaded query={query}>
      {(read) => editing && s.kind === "sql" ? (
        <Edit key={read.etag} server={s.slug} read={read} onDone={() => setEditing(false)} onReload={() => void query.refetch()} />
      ) : (
        <Shown connection={read.data} onEdit={can("servers:write") && s.kind === "sql" ? () => setEditing(true) : undefined} />
      )}
    </Loaded>
  );
}

function Shown({ connection: c, onEdit }: { connection: Connection; onEdit?: () => void }) {
  const use = useQuery(issuing(c.server)).data;
  const failing = use?.last_failed_at && (!use.last_issued_at || use.last_failed_at > use.last_issued_at);
  const sql = c.kind === "sql" ? fromDeclared(c.connection) : undefined;
  return (
    <Stack gap="md" maw={720}>
      {failing && (
        <Alert color="red" icon={<IconPlugConnectedX aria-hidden />} title="The last credential could not be issued">
          {use.last_failure} <RelativeTime at={use.last_failed_at} />
        </Alert>
      )}
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

function Edit({ server, read, onDone, onReload }: { server: string; read?: Tagged<Connection>; onDone: () => void; onReload: () => void }) {
  const client = useQueryClient();
  const declared = read?.data.connection;
  const form = useForm<SQLConnection>({ initialValues: fromDeclared(declared), validate: zodValidate(SQLConnection) });
  const save = useMutation({
    mutationFn: (values: SQLConnection) => tagged(api.PUT("/tenants/{tenant}/servers/{server}/connection", {
      params: { path: at({ server }), header: read ? { "If-Match": read.etag } : {} }, body: { connection: toDeclared(values, declared) },
    })),
    onSuccess: async () => {
      toast.done("Vault logged in; the connection is in use from the next call on.");
      onDone();
      await client.invalidateQueries();
    },
    onError: (error) => showConnectionProblem(form, error),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))}>
      <Stack gap="md" maw={720}>
        <ConnectionFields form={form} />
        {isStale(save.error) ? <StaleAlert what="The connection" onReload={onReload} /> : save.isError && <ErrorState error={save.error} title="The connection stays as it was" />}
        <Group justify="space-between">
          <Text size="sm" c="dimmed">Vault logs in before anything is replaced.</Text>
          <Group gap="xs"><Button variant="default" onClick={onDone}>Cancel</Button><Button type="submit" loading={save.isPending}>Try and save</Button></Group>
        </Group>
      </Stack>
    </form>
  );
}
