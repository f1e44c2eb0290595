import { Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useCan } from "~/api/me";
import type { Switch } from "~/api/safety";
import { boot } from "~/boot";
import { TextLink } from "~/ui/link";
import { parts } from "./targets";

/** What a switch is about, as a link to it where one may follow. */
export function TargetName({ of: s }: { of: Pick<Switch, "target" | "name"> }) {
  const can = useCan();
  const { kind, rest, server, tool } = parts(s.target);
  if (kind === "tenant") return <b>Every tool of {boot.tenantName || boot.tenant}</b>;
  if (kind === "tool" && server && tool) return <Named name={s.name || tool} id={`${server}/${tool}`} mono>{can("servers:read") && ((inner) => <TextLink to="/tools/$server/$tool" params={{ server, tool }} fw={560}>{inner}</TextLink>)}</Named>;
  if (kind === "server") return <Named name={s.name || rest} id={rest} mono>{can("servers:read") && ((inner) => <TextLink to="/servers/$server" params={{ server: rest }} fw={560}>{inner}</TextLink>)}</Named>;
  if (kind === "member") return <Named name={s.name || rest} id={rest}>{can("members:read") && ((inner) => <TextLink to="/people/$member" params={{ member: rest }} fw={560}>{inner}</TextLink>)}</Named>;
  return <Named name={s.name || rest} id={rest} mono>{can("clients:read") && ((inner) => <TextLink to="/clients" search={{ client: rest }} fw={560}>{inner}</TextLink>)}</Named>;
}

function Named({ name, id, mono, children }: { name: string; id: string; mono?: boolean; children: false | ((inner: ReactNode) => ReactNode) }) {
  return (
    <>
      {children ? children(name) : <Text span fw={560} size="sm">{name}</Text>}
      {id !== name && <> <Text span size="xs" c="dimmed" className={mono ? "mono" : undefined}>{id}</Text></>}
    </>
  );
}
