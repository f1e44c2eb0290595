import { Alert, Button, Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconInfoCircle, IconPower } from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useClientChoices, useMemberChoices, useServerChoices, useToolChoices } from "~/api/choices";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { useSwitchesOn, type Switch } from "~/api/safety";
import { boot } from "~/boot";
import { ConfirmDialog } from "~/ui/confirm";
import { TextLink } from "~/ui/link";
import { SuggestField } from "~/ui/suggest-field";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { SwitchDialog } from "./switch-dialog";
import { TargetName } from "./target-name";
import { kinds, parts, targets, type Kind } from "./targets";

const put = (target: string, change: Schemas["SwitchPut"]) => body(api.PUT("/tenants/{tenant}/switches/{target}", { params: { path: at({ target }) }, body: change }));
const lift = (target: string) => body(api.DELETE("/tenants/{tenant}/switches/{target}", { params: { path: at({ target }) } }));

function useRefresh() {
  const client = useQueryClient();
  return () => client.invalidateQueries({ predicate: ({ queryKey }) => ["switches", "events"].includes(String(queryKey[0])) });
}

interface FixedProps {
  opened: boolean;
  onClose: () => void;
  target: string;
  /** For people: "Issue a refund". */
  name: string;
}

/** Switches off what one looks at. */
export function SwitchOffThis({ opened, onClose, target, name }: FixedProps) {
  const refresh = useRefresh();
  return (
    <SwitchDialog opened={opened} onClose={onClose} title={`Switch off ${name}`} onSwitch={async (change) => { await put(target, change); toast.done(`${name} is switched off.`); await refresh(); }}>
      <Text size="sm">{kinds[parts(target).kind].says}</Text>
      <Already target={target} />
    </SwitchDialog>
  );
}

/** The way to it from the page of a tool, a server, a person or an app. */
export function SwitchOffButton({ target, name }: { target: string; name: string }) {
  const [opened, { open, close }] = useDisclosure();
  if (!useCan()("switches:write")) return null;
  return (
    <>
      <Button variant="default" leftSection={<IconPower size={15} aria-hidden />} onClick={open}>Switch off</Button>
      <SwitchOffThis opened={opened} onClose={close} target={target} name={name} />
    </>
  );
}

/** Switches off what one chooses first. */
export function SwitchOff({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const refresh = useRefresh();
  const [kind, setKind] = useState<Kind>("tool");
  const [chosen, setChosen] = useState<Chosen>({});
  const target = targetOf(kind, chosen);
  const close = () => {
    onClose();
    setKind("tool");
    setChosen({});
  };
  return (
    <SwitchDialog
      opened={opened} onClose={close} title="Switch off" incomplete={target === undefined} typed={kind === "tenant" ? boot.tenant : undefined}
      action={kind === "tenant" ? "Switch everything off" : "Switch off"}
      onSwitch={async (change) => { await put(target!, change); toast.done("It is switched off; the next call is refused."); await refresh(); }}
    >
      <Stack gap="sm">
        <SegmentedControl size="sm" fullWidth aria-label="What to switch off" value={kind} onChange={(v) => { setKind(v as Kind); setChosen({}); }} data={Object.entries(kinds).map(([value, { label }]) => ({ value, label }))} />
        <Text size="sm" c="dimmed">{kinds[kind].says}</Text>
        <Choose kind={kind} chosen={chosen} onChange={setChosen} />
        {target && <Already target={target} />}
      </Stack>
    </SwitchDialog>
  );
}

interface Chosen {
  server?: string;
  tool?: string;
  member?: string;
  client?: string;
}

export function targetOf(kind: Kind, c: Chosen): string | undefined {
  switch (kind) {
    case "tenant": return targets.tenant;
    case "server": return c.server && targets.server(c.server);
    case "tool": return c.server && c.tool && targets.tool(c.server, c.tool);
    case "member": return c.member && targets.member(c.member);
    case "client": return c.client && targets.client(c.client);
  }
}

function Choose({ kind, chosen, onChange }: { kind: Kind; chosen: Chosen; onChange: (chosen: Chosen) => void }) {
  const servers = useServerChoices();
  const tools = useToolChoices(chosen.server);
  const members = useMemberChoices();
  const apps = useClientChoices();
  const server = <SuggestField labelled label="Server" placeholder="Its slug" width="100%" value={chosen.server} suggestions={servers} onChange={(v) => onChange({ server: v })} />;
  if (kind === "tenant") return null;
  if (kind === "server") return server;
  if (kind === "tool") {
    return (
      <Group grow align="flex-start">
        {server}
        <SuggestField labelled label="Tool" placeholder="Its name" width="100%" value={chosen.tool} suggestions={chosen.server ? tools : []} onChange={(v) => onChange({ ...chosen, tool: v })} />
      </Group>
    );
  }
  if (kind === "member") return <SuggestField labelled label="Person" placeholder="Their address" width="100%" value={chosen.member} suggestions={members} onChange={(v) => onChange({ member: v })} />;
  return <SuggestField labelled label="App" placeholder="Its name or client id" width="100%" value={chosen.client} suggestions={apps} onChange={(v) => onChange({ client: v })} />;
}

function Already({ target }: { target: string }) {
  const off = useSwitchesOn().data?.data.find((s) => s.on && s.target === target);
  if (!off) return null;
  return <Alert color="amber" icon={<IconInfoCircle aria-hidden />}>It is off already, by {off.by}, <RelativeTime at={off.created_at} />: {off.reason} What you say now takes the place of that.</Alert>;
}

/** Lets calls through again, after saying what that means. */
export function LiftSwitch({ of: s, onClose }: { of: Switch | undefined; onClose: () => void }) {
  const refresh = useRefresh();
  return (
    <ConfirmDialog
      opened={s !== undefined} onClose={onClose} title="Lift the kill switch" action="Let calls through"
      onConfirm={async () => { await lift(s!.target); toast.done("Calls go through again."); await refresh(); }}
    >
      {s && <><TargetName of={s} /> was switched off by {s.by}, <RelativeTime at={s.created_at} />: {s.reason} Calls go through again within a second.</>}
    </ConfirmDialog>
  );
}

/** On the page of something that is off: that it is, why, and where to lift it. `all` are names of it and of what it belongs to. */
export function OffNotice({ all }: { all: readonly string[] }) {
  const off = useSwitchesOn().data?.data.find((s) => s.on && all.includes(s.target));
  if (!off) return null;
  const { kind } = parts(off.target);
  return (
    <Alert color="red" icon={<IconPower aria-hidden />} title={`Switched off${kind === "server" && all[0] !== off.target ? " with its server" : ""}`} mb="md">
      {off.reason} By {off.by}, <RelativeTime at={off.created_at} />{off.expires_at ? <>; it lifts itself <RelativeTime at={off.expires_at} /></> : "; it stays until somebody lifts it"}. <TextLink to="/switches" underline="always">Kill switches</TextLink>
    </Alert>
  );
}
