import { Button, SimpleGrid, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconPencil, IconPlayerPlay } from "@tabler/icons-react";
import { queryOptions, useQuery } from "@tanstack/react-query";
import { api, at, tagged, type Schemas, type Tagged } from "~/api/client";
import { useCan } from "~/api/me";
import { isMissing } from "~/api/problem";
import { duration } from "~/lib/time";
import { OffNotice, SwitchOffButton } from "~/safety/switch-off";
import { targets } from "~/safety/targets";
import { Facts } from "~/ui/facts";
import { ButtonLink, TextLink } from "~/ui/link";
import { Crumb, PageHeader } from "~/ui/page-header";
import { RiskMark, risks } from "~/ui/risk";
import { SchemaView } from "~/ui/schema-view";
import { Section } from "~/ui/section";
import { EmptyState, Loaded } from "~/ui/states";
import { EditTool } from "./edit";
import { EditSafety } from "./edit-safety";
import { tool as route } from "./routes";
import { Going, Safety } from "./safety";

export type Tool = Schemas["Tool"];

export const toolQuery = (server: string, tool: string) => queryOptions({
  queryKey: ["tools", server, tool],
  queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}/servers/{server}/tools/{tool}", { params: { path: at({ server, tool }) }, signal })),
});

/** One tool: what a model reads of it, what guards it, who may use it. */
export function Page() {
  const { server, tool: name } = route.useParams();
  const query = useQuery(toolQuery(server, name));
  const can = useCan();
  const [editing, edit] = useDisclosure();
  const [guarding, guard] = useDisclosure();
  const read = query.data;
  return (
    <>
      <PageHeader
        title={read?.data.title || name}
        trail={<><Crumb to="/tools">Tools</Crumb><span aria-hidden>/</span><Crumb to="/servers/$server" params={{ server }}>{server}</Crumb></>}
        actions={read && (
          <>
            {can("tools:try") && <ButtonLink variant="default" leftSection={<IconPlayerPlay size={15} aria-hidden />} to="/servers/$server" params={{ server }} search={{ tab: "try", tool: name }}>Try it</ButtonLink>}
            <SwitchOffButton target={targets.tool(server, name)} name={read.data.title || name} />
            {can("servers:write") && <Button leftSection={<IconPencil size={15} aria-hidden />} onClick={edit.open}>Edit</Button>}
          </>
        )}
      >
        <span className="mono">{name}</span>
      </PageHeader>
      {isMissing(query.error) ? <EmptyState title="There is no such tool">The server may have a newer revision without it.</EmptyState> : (
        <Loaded query={query}>
          {(found) => (
            <>
              <OffNotice all={[targets.tool(server, name), targets.server(server)]} />
              <Going tool={found.data} />
              <ToolView read={found} onEditSafety={guard.open} />
              <EditTool read={found} opened={editing} onClose={edit.close} onReload={() => void query.refetch()} />
              <EditSafety read={found} opened={guarding} onClose={guard.close} onReload={() => void query.refetch()} />
            </>
          )}
        </Loaded>
      )}
    </>
  );
}

function ToolView({ read: { data: t }, onEditSafety }: { read: Tagged<Tool>; onEditSafety: () => void }) {
  return (
    <Stack gap="md">
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
        <Section title="Description" says="What the model reads before it decides to call it.">
          <Text size="sm" style={{ whiteSpace: "pre-line" }}>{t.description}</Text>
        </Section>
        <Facts label="What guards it" facts={[
          ["Risk", <div key="risk"><RiskMark risk={t.risk} /><Text size="xs" c="dimmed">{risks[t.risk].says}</Text></div>],
          ["Scope", <span key="scope" className="mono">{t.scope}</span>],
          ["Opened by", t.roles?.length ? <Roles key="roles" roles={t.roles} /> : <Text key="roles" span size="sm" c="var(--lk-warn)">no role: nobody can call it</Text>],
          ["Timeout", duration(t.timeout_ms)],
          ["Called twice", t.idempotent && "changes nothing more"],
          ["Served", t.published === false ? "not yet" : t.revision && `since revision ${t.revision}`],
        ]} />
      </SimpleGrid>
      <Safety tool={t} onEdit={onEditSafety} />
      <Section title="Input"><SchemaView schema={t.input_schema} label="Input" /></Section>
      <Section title="Output"><SchemaView schema={t.output_schema} label="Output" /></Section>
    </Stack>
  );
}

function Roles({ roles }: { roles: string[] }) {
  return (
    <>
      {roles.map((role, i) => (
        <span key={role}>{i > 0 && ", "}<TextLink to="/people" search={{ role }}>{role}</TextLink></span>
      ))}
      <Text size="xs" c="dimmed">Change it under <TextLink to="/access" underline="always">Access</TextLink>.</Text>
    </>
  );
}
