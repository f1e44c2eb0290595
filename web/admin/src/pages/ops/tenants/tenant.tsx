import { Alert, Badge, Button, Group, Menu, Stack, Text } from "@mantine/core";
import { IconBuilding, IconDots, IconExternalLink, IconPlayerPause, IconPlayerPlay, IconTrash } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, tagged, type Schemas, type Tagged } from "~/api/client";
import { isMissing, isStale } from "~/api/problem";
import { fieldErrors } from "~/api/problem";
import { ConfirmDialog } from "~/ui/confirm";
import { Facts } from "~/ui/facts";
import { ButtonLink } from "~/ui/link";
import { Crumb, PageHeader } from "~/ui/page-header";
import { QuotaTable } from "~/ui/quota";
import { Section } from "~/ui/section";
import { StaleAlert } from "~/ui/stale";
import { EmptyState, ErrorState, LoadingState } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { tenant as route } from "../routes";
import { Deleting } from "./deleting";
import { QuotaFields, quotaFields, quotasOf, quotaValues } from "./quotas";

type Tenant = Schemas["Tenant"];

const path = (tenant: string) => ({ path: { tenant } });

/** One company: what it may have, whether it is open, and its end. */
export function Page() {
  const { tenant: slug } = route.useParams();
  const [operation, setOperation] = useState<string>();
  const query = useQuery({ queryKey: ["tenants", "one", slug], queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}", { params: path(slug), signal })), enabled: operation === undefined });
  const trail = <Crumb to="/tenants">Tenants</Crumb>;
  if (operation) return <><PageHeader title={slug} trail={trail} /><Deleting id={operation} tenant={slug} /></>;
  if (query.data) return <One key={slug} read={query.data} onReload={() => void query.refetch()} onDeleting={setOperation} />;
  return (
    <>
      <PageHeader title={slug} trail={trail} />
      {!query.isError ? <LoadingState rows={6} /> : isMissing(query.error) ? (
        <EmptyState icon={IconBuilding} title="There is no such tenant" action={<ButtonLink to="/tenants" variant="default">All tenants</ButtonLink>}>It may have been deleted. Its audit records stay.</EmptyState>
      ) : <ErrorState error={query.error} onRetry={() => void query.refetch()} />}
    </>
  );
}

function One({ read, onReload, onDeleting }: { read: Tagged<Tenant>; onReload: () => void; onDeleting: (operation: string) => void }) {
  const t = read.data;
  return (
    <>
      <PageHeader title={t.name} trail={<Crumb to="/tenants">Tenants</Crumb>} badge={t.suspended ? <Badge color="red">Suspended</Badge> : <Badge color="green">Open</Badge>} actions={<Actions read={read} onDeleting={onDeleting} />}>
        <span className="mono">{t.slug}</span>
      </PageHeader>
      <Stack gap="md">
        {t.suspended && <Alert color="red" icon={<IconPlayerPause aria-hidden />}>This tenant is suspended: nobody signs in, and no call runs. Nothing of it is deleted.</Alert>}
        <Section title="Quotas"><Stack gap="md"><QuotaTable quotas={t.quotas} /><QuotaForm key={read.etag} read={read} onReload={onReload} /></Stack></Section>
        <Facts facts={Object.entries({ Base: <span className="mono">{t.base_url}</span>, Issuer: <span className="mono">{t.issuer}</span>, Since: <RelativeTime at={t.created_at} />, Id: <span className="mono">{t.id}</span> })} />
      </Stack>
    </>
  );
}

function useWrite(read: Tagged<Tenant>) {
  const client = useQueryClient();
  return async (change: Schemas["TenantUpdate"]) => {
    await tagged(api.PATCH("/tenants/{tenant}", { params: { ...path(read.data.slug), header: { "If-Match": read.etag } }, body: change }));
    await client.invalidateQueries({ queryKey: ["tenants"] });
  };
}

function QuotaForm({ read, onReload }: { read: Tagged<Tenant>; onReload: () => void }) {
  const write = useWrite(read);
  const before = quotaValues(read.data.quotas);
  const [values, setValues] = useState(before);
  const dirty = quotaFields.some((f) => values[f] !== before[f]);
  const below = quotaFields.filter((f) => values[f] !== "" && Number(values[f]) < read.data.quotas[f].used);
  const save = useMutation({ mutationFn: () => write({ quotas: quotasOf(values) }), onSuccess: () => toast.done("The quotas are saved.") });
  return (
    <form onSubmit={(e) => { e.preventDefault(); save.mutate(); }}>
      <Stack gap="sm">
        <QuotaFields values={values} onChange={setValues} used={read.data.quotas} errors={fieldErrors(save.error, quotaFields.map((f) => `quotas.${f}`)).fields} />
        {below.length > 0 && <Text size="sm" c="var(--lk-warn)">Less than is in use: what is there stays, and nothing more can be added.</Text>}
        {isStale(save.error) ? <StaleAlert what="The tenant" onReload={onReload} /> : save.isError && <ErrorState error={save.error} />}
        <Group gap="xs">
          <Button type="submit" disabled={!dirty} loading={save.isPending}>Save quotas</Button>
          {dirty && <Button variant="default" onClick={() => setValues(before)}>Discard</Button>}
        </Group>
      </Stack>
    </form>
  );
}

function Actions({ read, onDeleting }: { read: Tagged<Tenant>; onDeleting: (operation: string) => void }) {
  const t = read.data;
  const client = useQueryClient();
  const write = useWrite(read);
  const [asked, setAsked] = useState<"suspend" | "resume" | "delete">();
  const close = () => setAsked(undefined);
  return (
    <>
      <Button component="a" href={t.base_url} target="_blank" rel="noreferrer" variant="default" rightSection={<IconExternalLink size={14} aria-label="in a new tab" />}>Its address</Button>
      <Menu position="bottom-end" shadow="md" transitionProps={{ duration: 0 }}>
        <Menu.Target><Button variant="default" rightSection={<IconDots size={15} aria-hidden />}>Actions</Button></Menu.Target>
        <Menu.Dropdown>
          {t.suspended
            ? <Menu.Item leftSection={<IconPlayerPlay size={15} aria-hidden />} onClick={() => setAsked("resume")}>Resume</Menu.Item>
            : <Menu.Item leftSection={<IconPlayerPause size={15} aria-hidden />} onClick={() => setAsked("suspend")}>Suspend</Menu.Item>}
          <Menu.Divider />
          <Menu.Item color="red" leftSection={<IconTrash size={15} aria-hidden />} onClick={() => setAsked("delete")}>Delete</Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <ConfirmDialog opened={asked === "suspend"} onClose={close} title={`Suspend ${t.name}`} action="Suspend" danger typed={t.slug}
        onConfirm={async () => { await write({ suspended: true }); toast.done(`${t.name} is suspended.`); }}>
        Nobody of it can sign in, every client's next call is refused, and its keys do not work, until you resume it. Nothing is deleted. Calls that are running now end as they would have.
      </ConfirmDialog>
      <ConfirmDialog opened={asked === "resume"} onClose={close} title={`Resume ${t.name}`} action="Resume"
        onConfirm={async () => { await write({ suspended: false }); toast.done(`${t.name} is open again.`); }}>
        People sign in again, and clients and keys work again where they have not expired meanwhile.
      </ConfirmDialog>
      <ConfirmDialog
        opened={asked === "delete"} onClose={close} title={`Delete ${t.name}`} action="Delete the tenant" danger typed={t.slug}
        dryRun={{ key: ["tenant", t.slug], read: async () => (await body(api.DELETE("/tenants/{tenant}", { params: { ...path(t.slug), query: { dry_run: true } } }))) as Schemas["Deletion"] }}
        onConfirm={async () => {
          const operation = (await body(api.DELETE("/tenants/{tenant}", { params: { ...path(t.slug), query: { dry_run: false }, header: { "If-Match": read.etag } } }))) as Schemas["Operation"];
          onDeleting(operation.id);
          await client.invalidateQueries({ queryKey: ["tenants"] });
        }}
      >
        Everything of it goes and cannot be brought back; only its audit records stay. Credentials at Vault are taken back first, which can take minutes.
      </ConfirmDialog>
    </>
  );
}
