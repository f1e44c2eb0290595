import { Alert, Badge, Drawer, Group, SegmentedControl, Select, Stack, Text, Title } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconUserSearch } from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { permissionWords } from "~/lib/permissions";
import { list } from "~/lib/words";
import { RiskMark } from "~/ui/risk";
import { EmptyState, Loaded } from "~/ui/states";
import { effective, type Opening } from "./effective";
import type { Model } from "./model";
import classes from "./person.module.css";

interface Props {
  opened: boolean;
  person: string | undefined;
  model: Model;
  onPick: (person: string | undefined) => void;
  onClose: () => void;
}

/** "What can this person call?": as it is, and as it would be with the pending changes. */
export function PersonDrawer({ opened, person, model, onPick, onClose }: Props) {
  return (
    <Drawer opened={opened} onClose={onClose} title="What can this person call?">
      <Stack gap="md">
        <PersonSelect person={person} onPick={onPick} />
        {person ? <PersonAccess key={person} person={person} model={model} /> : (
          <EmptyState compact icon={IconUserSearch} title="Choose a person">You see every tool that their roles open, which role opens it, and what stays closed.</EmptyState>
        )}
      </Stack>
    </Drawer>
  );
}

function PersonSelect({ person, onPick }: { person: string | undefined; onPick: (person: string | undefined) => void }) {
  const [text, setText] = useState("");
  const [q] = useDebouncedValue(text, 200);
  const found = useQuery({
    queryKey: ["members", "pick", q],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/members", { params: { path: at(), query: { limit: 50, ...(q ? { q } : {}) } }, signal })),
    placeholderData: keepPreviousData,
  });
  const options = (found.data?.data ?? []).map((m) => ({ value: m.email, label: m.name ? `${m.name} · ${m.email}` : m.email }));
  if (person && !options.some((o) => o.value === person)) options.unshift({ value: person, label: person });
  return (
    <Select
      label="Person" placeholder="Name or address" searchable clearable clearButtonProps={{ "aria-label": "Clear: person" }} data={options} value={person ?? null} filter={({ options: all }) => all}
      onSearchChange={(v) => setText(v.includes(" · ") ? "" : v)} onChange={(v) => onPick(v ?? undefined)} nothingFoundMessage={found.isPending ? "Looking" : "Nobody of that name"}
    />
  );
}

function PersonAccess({ person, model }: { person: string; model: Model }) {
  const query = useQuery({
    queryKey: ["members", person, "access"],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/members/{member}/access", { params: { path: at({ member: person }) }, signal })),
  });
  return <Loaded query={query} rows={5}>{(access) => <Access access={access} model={model} />}</Loaded>;
}

function Access({ access, model }: { access: Schemas["EffectiveAccess"]; model: Model }) {
  const [which, setWhich] = useState(model.pending > 0 ? "pending" : "saved");
  const withPending = which === "pending" && model.pending > 0;
  const { member } = access;
  const servers = effective(model, member.roles, withPending);
  const flips = servers.flatMap((s) => s.open).filter((o) => o.change !== "same");
  return (
    <Stack gap="md">
      <Group gap={6}>
        {member.roles.length === 0 && <Text size="sm" c="dimmed">Holds no role, so nothing is open.</Text>}
        {member.roles.map((role) => <Badge key={role}>{role}</Badge>)}
      </Group>
      {member.disabled && <Alert color="amber">This account is disabled: whatever stands below, every call is refused.</Alert>}
      {model.pending > 0 && (
        <SegmentedControl fullWidth value={which} onChange={setWhich} data={[{ value: "saved", label: "As saved" }, { value: "pending", label: "With the pending changes" }]} aria-label="Which state" />
      )}
      {withPending && <Text size="sm" role="status">{flips.length === 0 ? "The pending changes change nothing for this person." : `The pending changes: ${flipWords(flips)}.`}</Text>}
      {servers.map((server) => (
        <section key={server.server} aria-label={server.title}>
          <Title order={3} mb={6}>{server.title}</Title>
          <ul className={classes.scopes}>
            {server.open.map((o) => (
              <li key={o.scope.scope} className={classes.scope} data-change={o.change}>
                <Group justify="space-between" gap="xs" wrap="nowrap" align="baseline">
                  <span className="mono">{o.scope.scope}</span>
                  <Text span size="xs" c="dimmed" ta="right">{o.change === "loses" ? "would be closed" : `${o.change === "gains" ? "would be opened" : "opened"} by ${list(o.roles)}`}</Text>
                </Group>
                <ul className={classes.tools}>
                  {o.scope.tools.map((tool) => <li key={tool.name}><RiskMark risk={tool.risk} bare />{tool.title || tool.name}</li>)}
                </ul>
              </li>
            ))}
            {server.closed.length > 0 && <li className={classes.closed}>Closed: {list(server.closed.flatMap((s) => s.tools.map((t) => t.title || t.name)), 6) || list(server.closed.map((s) => s.scope), 6)}</li>}
          </ul>
        </section>
      ))}
      <section>
        <Title order={3} mb={2}>On the platform</Title>
        <Text size="sm" c="dimmed">{permissionWords(access.permissions.map((p) => p.permission))}</Text>
      </section>
    </Stack>
  );
}

function flipWords(flips: readonly Opening[]): string {
  const gains = flips.filter((f) => f.change === "gains").map((f) => f.scope.scope);
  const loses = flips.filter((f) => f.change === "loses").map((f) => f.scope.scope);
  return [gains.length && `open ${list(gains, 3)}`, loses.length && `close ${list(loses, 3)}`].filter(Boolean).join("; ");
}
