import { Button, Checkbox, Group, Stack, Table, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { count, list } from "~/lib/words";
import { ConnectHelp } from "~/ui/connect";
import { ButtonLink } from "~/ui/link";
import { RiskMark, type Risk } from "~/ui/risk";
import { Section } from "~/ui/section";
import { EmptyState, ErrorState, Loaded } from "~/ui/states";
import { publish, revisionQuery, type Revision, type Server } from "./queries";

/** Serves the draft, and opens its scopes for roles in the same step. */
export function StepPublish({ server, onBack }: { server: Server; onBack: () => void }) {
  const can = useCan();
  const revision = useQuery(revisionQuery(server.slug, server.latest_revision ?? 1));
  const roles = useQuery({
    queryKey: ["roles", "names"],
    queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/roles", { params: { path: at(), query: { limit: 200 } }, signal }))).data,
    enabled: can("roles:write"),
  });
  return (
    <Loaded query={revision}>
      {(r) => can("roles:write")
        ? <Loaded query={roles}>{(all) => <Publish server={server} revision={r} roles={all.map((role) => role.name)} onBack={onBack} />}</Loaded>
        : <Publish server={server} revision={r} roles={[]} onBack={onBack} />}
    </Loaded>
  );
}

function Publish({ server, revision, roles, onBack }: { server: Server; revision: Revision; roles: string[]; onBack: () => void }) {
  const client = useQueryClient();
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const scopes = scopesOf(revision);
  const opened = scopes.filter(({ scope }) => roles.some((role) => open.has(key(role, scope)))).length;
  const act = useMutation({
    mutationFn: async () => {
      await publish(server.slug, revision.number);
      const changes = scopes.flatMap(({ scope }) => roles.filter((role) => open.has(key(role, scope))).map((role) => ({ role, server: server.slug, scope, open: true })));
      if (changes.length > 0) await body(api.PATCH("/tenants/{tenant}/access", { params: { path: at() }, body: { changes } }));
    },
    onSettled: () => client.invalidateQueries(),
  });

  if (act.isSuccess) {
    return (
      <Stack gap="md" maw={760}>
        <Section title={`${server.title || server.slug} is served`} says="Give people this URL; they sign in and tick what their agent may do.">
          <ConnectHelp slug={server.slug} url={server.mcp_url} />
        </Section>
        <Group><ButtonLink to="/servers/$server" params={{ server: server.slug }}>Go to the server</ButtonLink><ButtonLink to="/access" variant="default">Go to access</ButtonLink></Group>
      </Stack>
    );
  }
  return (
    <Stack gap="md" maw={860}>
      <Section title="Which roles should open it?" says="A scope that no role opens can be used by nobody. You can change this at any time.">
        {roles.length === 0 ? <EmptyState compact title="No role to choose">Publish now; somebody who may change roles opens the scopes under Access.</EmptyState> : (
          <Table.ScrollContainer minWidth={200 + roles.length * 90} type="native" tabIndex={0} role="region" aria-label="Roles and scopes">
            <Table>
              <Table.Thead><Table.Tr><Table.Th scope="col">Scope</Table.Th>{roles.map((role) => <Table.Th key={role} scope="col" ta="center">{role}</Table.Th>)}</Table.Tr></Table.Thead>
              <Table.Tbody>
                {scopes.map(({ scope, risk, tools }) => (
                  <Table.Tr key={scope}>
                    <Table.Th scope="row" fw={400}><Group gap={8} wrap="nowrap"><RiskMark risk={risk} bare /><span className="mono">{scope}</span></Group><Text size="xs" c="dimmed" pl={17}>{list(tools, 3)}</Text></Table.Th>
                    {roles.map((role) => (
                      <Table.Td key={role}>
                        <Checkbox aria-label={`${role} opens ${scope}`} checked={open.has(key(role, scope))} styles={{ body: { justifyContent: "center" } }}
                          onChange={() => setOpen((old) => { const next = new Set(old); if (!next.delete(key(role, scope))) next.add(key(role, scope)); return next; })} />
                      </Table.Td>
                    ))}
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </Section>
      {act.isError && <ErrorState error={act.error} title="Not everything is done" />}
      <Group justify="space-between">
        <Button variant="default" onClick={onBack}>Back</Button>
        <Button loading={act.isPending} onClick={() => act.mutate()}>{opened > 0 ? `Publish and open ${count(opened, "scope")}` : "Publish"}</Button>
      </Group>
    </Stack>
  );
}

const key = (role: string, scope: string) => `${role} ${scope}`;

const weight: Record<Risk, number> = { read: 0, write: 1, destructive: 2 };

/** Scopes with their tools and the gravest risk among these. */
export function scopesOf({ tools, scopes = [] }: Pick<Revision, "tools" | "scopes">): { scope: string; risk: Risk; tools: string[] }[] {
  const found = new Map<string, { scope: string; risk: Risk; tools: string[] }>(scopes.map((scope) => [scope, { scope, risk: "read", tools: [] }]));
  for (const t of tools) {
    const entry = found.get(t.scope) ?? { scope: t.scope, risk: t.risk, tools: [] };
    if (weight[t.risk] > weight[entry.risk]) entry.risk = t.risk;
    entry.tools.push(t.title || t.name);
    found.set(t.scope, entry);
  }
  return [...found.values()];
}
