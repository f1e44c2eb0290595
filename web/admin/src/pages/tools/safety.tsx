import { Alert, Badge, Button, Text } from "@mantine/core";
import { IconHourglassEmpty, IconPencil } from "@tabler/icons-react";
import type { Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { safetyWords } from "~/lib/safety-words";
import { exactDay } from "~/lib/time";
import { TextLink } from "~/ui/link";
import { Section } from "~/ui/section";
import classes from "./safety.module.css";

type Tool = Schemas["Tool"];

/** How the tool is kept safe in the hands of a loop, in words, with what the defaults are. */
export function Safety({ tool: t, onEdit }: { tool: Tool; onEdit: () => void }) {
  const can = useCan();
  return (
    <Section title="How it is kept safe" says="What the spec says, and the platform's defaults where it says nothing." padded={false}
      actions={can("servers:write") && <Button variant="default" leftSection={<IconPencil size={15} aria-hidden />} onClick={onEdit}>Edit safety</Button>}>
      <dl className={classes.parts}>
        {safetyWords(t.safety, t.risk, { version: t.version }).map((p) => (
          <div key={p.key}>
            <dt>{p.name} <Badge color={p.loose ? "red" : p.own ? "accent" : "gray"}>{p.loose ? "less than the default" : p.own ? "own" : "default"}</Badge></dt>
            <dd>
              {p.says.map((line) => <div key={line}>{line}</div>)}
              {p.key === "limits" && can("limits:read") && <TextLink to="/limits" size="xs">The tenant's limits</TextLink>}
              {p.key === "approval" && p.own && <TextLink to="/approvals" search={{ server: t.server, tool: t.name }} size="xs">Its approvals</TextLink>}
            </dd>
          </div>
        ))}
      </dl>
    </Section>
  );
}

/** At the head of the page of a tool that is going. */
export function Going({ tool: t }: { tool: Tool }) {
  const d = t.deprecated;
  if (!d) return null;
  return (
    <Alert color={d.gone ? "red" : "amber"} icon={<IconHourglassEmpty aria-hidden />} title={d.gone ? `Gone since ${exactDay(d.sunset)}` : `Deprecated; it ends on ${exactDay(d.sunset)}`} mb="md">
      <Text size="sm">
        {d.gone ? "It is in no list, and a call is answered with its successor's name." : "It works until then and says so in every answer."}{" "}
        {d.successor && <>Its successor is <TextLink to="/tools/$server/$tool" params={{ server: t.server, tool: d.successor }} underline="always">{d.successor}</TextLink>. </>}
        {d.message} <TextLink to="/deprecations" underline="always">Who still calls it</TextLink>
      </Text>
    </Alert>
  );
}
