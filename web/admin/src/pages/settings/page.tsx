import { Anchor, Button, Group, Stack, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { IconBook, IconExternalLink } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { z } from "zod";
import { api, at, body, tagged, type Schemas, type Tagged } from "~/api/client";
import { useCan } from "~/api/me";
import { isStale } from "~/api/problem";
import { boot } from "~/boot";
import { showProblem, zodValidate } from "~/lib/form";
import { count } from "~/lib/words";
import { CopyField } from "~/ui/copy";
import { OperationMark, operationWords } from "~/ui/operation-mark";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { QuotaTable } from "~/ui/quota";
import { Section } from "~/ui/section";
import { StaleAlert } from "~/ui/stale";
import { EmptyState, ErrorState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { Declarative } from "./declarative";

type Tenant = Schemas["Tenant"];

/** What the tenant is called, how much it may have, and the whole of it as a file. */
export function Page() {
  const query = useQuery({ queryKey: ["tenant", "settings"], queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}", { params: { path: at() }, signal })) });
  return (
    <>
      <PageHeader title="Settings" />
      <Loaded query={query} rows={8}>
        {(read) => (
          <Stack gap="md">
            <Section title="Tenant"><NameForm key={read.etag} read={read} onReload={() => void query.refetch()} /></Section>
            <Section title="Quotas" says="Set by whoever runs the platform. At a limit nothing more can be added; what is there goes on."><QuotaTable quotas={read.data.quotas} /></Section>
            <Addresses tenant={read.data} />
            <Declarative slug={read.data.slug} />
            <Operations />
          </Stack>
        )}
      </Loaded>
    </>
  );
}

const schema = z.object({ name: z.string().trim().min(1, "Write a name").max(200, "At most 200 characters") });

function NameForm({ read, onReload }: { read: Tagged<Tenant>; onReload: () => void }) {
  const may = useCan()("tenant:write");
  const client = useQueryClient();
  const form = useForm({ initialValues: { name: read.data.name }, validate: zodValidate(schema) });
  const save = useMutation({
    mutationFn: ({ name }: typeof form.values) => tagged(api.PATCH("/tenants/{tenant}", { params: { path: at(), header: { "If-Match": read.etag } }, body: { name: name.trim() } })),
    onSuccess: async () => {
      toast.done("The name is saved. Pages that are open show it after they are loaded again.");
      await client.invalidateQueries({ predicate: ({ queryKey }) => ["tenant", "me"].includes(String(queryKey[0])) });
    },
    onError: (error) => showProblem(form, error, ["name"]),
  });
  return (
    <form onSubmit={form.onSubmit((values) => save.mutate(values))}>
      <Stack gap="sm" maw={520}>
        <Group gap="xs" align="flex-end">
          <TextInput label="Name" description="On the sign-in and consent pages, and above this menu" flex={1} miw={200} readOnly={!may} {...form.getInputProps("name")} />
          {may && <Button type="submit" loading={save.isPending} disabled={!form.isDirty()}>Save</Button>}
        </Group>
        {isStale(save.error) ? <StaleAlert what="The tenant" onReload={onReload} /> : save.isError && <ErrorState error={save.error} />}
      </Stack>
    </form>
  );
}

function Addresses({ tenant }: { tenant: Tenant }) {
  const root = new URL(`${boot.api}/`, location.href).href.replace(/\/$/, "");
  return (
    <Section title="Addresses" says="For clients, scripts and single sign-on.">
      <Stack gap="sm">
        {([["Base", tenant.base_url], ["Issuer of tokens", tenant.issuer], ["API", root]] as const).map(([label, value]) => (
          <div key={label}>
            <Text size="sm" fw={520} mb={4}>{label}</Text>
            <CopyField value={value} label={label} />
          </div>
        ))}
        <Anchor href={`${boot.api}/docs`} target="_blank" rel="noreferrer" size="sm"><Group gap={6} component="span"><IconBook size={15} aria-hidden />The API's reference<IconExternalLink size={13} aria-label="in a new tab" /></Group></Anchor>
      </Stack>
    </Section>
  );
}

function Operations() {
  const pages = usePages<Schemas["Operation"]>(["operations"], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/operations", { params: { path: at(), query: { limit: 20, ...(cursor ? { cursor } : {}) } }, signal })));
  return (
    <Section title="Long work" says="What goes on after the request that began it, newest first.">
      <PagedTable
        pages={pages} label="Pieces of work" one="piece of work" many="pieces of work" rowKey="id"
        empty={<EmptyState compact title="Nothing yet">Deleting a server is such work: its credentials are taken back first.</EmptyState>}
        columns={[
          { accessor: "kind", title: "What", width: 240, render: (o) => <Text size="sm" fw={500}>{operationWords(o)}</Text> },
          { accessor: "state", title: "State", width: 240, render: (o) => <><OperationMark state={o.state} />{o.error && <Text size="xs" c="dimmed" mt={2}>{o.error} {o.attempts ? `Tried ${count(o.attempts, "time")}.` : ""}</Text>}</> },
          { accessor: "created_at", title: "Begun", width: 180, render: (o) => <><RelativeTime at={o.created_at} /><Text size="xs" c="dimmed">by {o.created_by}</Text></> },
          { accessor: "finished_at", title: "Ended", width: 120, render: (o) => <RelativeTime at={o.finished_at} never="not yet" /> },
        ]}
      />
    </Section>
  );
}
