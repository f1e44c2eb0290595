import { Anchor, Badge, Button, Drawer, Group, Menu, Stack, Text, Title } from "@mantine/core";
import { IconAlertTriangle, IconChevronDown, IconFilter, IconLink } from "@tabler/icons-react";
import { useClipboard } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { boot } from "~/boot";
import { categories, explainCode } from "~/lib/codes";
import { duration, exactTime } from "~/lib/time";
import { bytes } from "~/lib/words";
import { CodeView } from "~/ui/code";
import { CopyButton } from "~/ui/copy";
import { Facts } from "~/ui/facts";
import { OutcomeMark, outcomes } from "~/ui/outcome";
import { TextLink } from "~/ui/link";
import { Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { aspectName, type Aspect } from "./filters";
import { noteWords } from "./notes";
import type { AuditEvent } from "./tail";
import { action, between, phaseWords, sentence } from "./words";
import classes from "./detail.module.css";

interface Props {
  event: string | undefined;
  onClose: () => void;
  onShow: (event: string) => void;
  onFilter: (aspect: Aspect, value: string) => void;
}

/** Everything about one record: what happened, why, what to do, and the rest of its call. */
export function EventDrawer({ event, onClose, ...rest }: Props) {
  return (
    <Drawer opened={event !== undefined} onClose={onClose} title="Record">
      {event && <Detail key={event} event={event} {...rest} />}
    </Drawer>
  );
}

function Detail({ event: id, onShow, onFilter }: Omit<Props, "onClose"> & { event: string }) {
  const query = useQuery({
    queryKey: ["audit", "event", id],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/audit/events/{event}", { params: { path: at({ event: id }) }, signal })),
  });
  return (
    <Loaded query={query} rows={8}>
      {({ event, call }) => (
        <Stack gap="lg">
          <div>
            <OutcomeMark outcome={event.outcome} large />
            <Text mt={8}>{sentence(event)}</Text>
            <Text size="sm" c="dimmed"><RelativeTime at={event.at} />, {exactTime(event.at)}. {outcomes[event.outcome]?.says}</Text>
          </div>
          {event.code && <Why code={event.code} category={event.category} reason={event.reason} />}
          <Group gap="xs">
            <CopyLink id={event.id} />
            <MoreLikeThis event={event} onFilter={onFilter} />
          </Group>
          <Notes event={event} onFilter={onFilter} />
          <RecordFacts event={event} onFilter={onFilter} />
          {event.arguments && (
            <section>
              <Title order={3} mb={6}>Arguments</Title>
              <CodeView value={event.arguments} label="Arguments, a summary without secrets" maxHeight={220} />
            </section>
          )}
          <Timeline call={call} current={event.id} onShow={onShow} />
        </Stack>
      )}
    </Loaded>
  );
}

function Why({ code, category, reason }: { code: string; category?: string; reason?: string }) {
  const { means, todo } = explainCode(code);
  const kind = categories[category as Schemas["Category"]];
  return (
    <section className={classes.why} aria-label="Why">
      <Group gap={8} mb={6}>
        <span className={classes.code}>{code}</span>
        {kind && <Text span size="xs" c="dimmed">{kind.label}: {kind.says}</Text>}
      </Group>
      <Text size="sm">{means}</Text>
      {reason && reason !== code && <Text size="sm" mt={6}>The platform said: {reason}</Text>}
      <Text size="sm" mt={8}><b>What to do.</b> {todo}</Text>
    </section>
  );
}

function CopyLink({ id }: { id: string }) {
  const clipboard = useClipboard({ timeout: 1500 });
  return (
    <Button variant="default" leftSection={<IconLink size={15} aria-hidden />} onClick={() => clipboard.copy(`${location.origin}${boot.console}/audit?event=${id}`)}>
      {clipboard.copied ? "Link copied" : "Copy link"}
    </Button>
  );
}

const alike: readonly Aspect[] = ["member", "client", "server", "tool", "grant", "code", "outcome", "call"];

function valueOf(event: AuditEvent, aspect: Aspect): string | undefined {
  if (aspect === "call") return event.call_id;
  if (aspect === "member") return event.member || event.member_id;
  return event[aspect];
}

function MoreLikeThis({ event, onFilter }: { event: AuditEvent; onFilter: Props["onFilter"] }) {
  return (
    <Menu position="bottom-start" shadow="md" transitionProps={{ duration: 0 }} width={320}>
      <Menu.Target>
        <Button variant="default" leftSection={<IconFilter size={15} aria-hidden />} rightSection={<IconChevronDown size={14} aria-hidden />}>Show more like this</Button>
      </Menu.Target>
      <Menu.Dropdown>
        {alike.map((aspect) => {
          const value = valueOf(event, aspect);
          const shown = aspect === "client" ? (event.client_name ?? value) : value;
          return value && <Menu.Item key={aspect} onClick={() => onFilter(aspect, value)}>Same {aspectName(aspect).toLowerCase()} <Text span size="xs" c="dimmed" className={classes.like}>{shown}</Text></Menu.Item>;
        })}
      </Menu.Dropdown>
    </Menu>
  );
}

function Notes({ event, onFilter }: { event: AuditEvent; onFilter: Props["onFilter"] }) {
  const can = useCan();
  const notes = noteWords(event.notes);
  if (notes.length === 0) return null;
  return (
    <section>
      <Title order={3} mb={8}>How it was kept safe</Title>
      <Facts label="How it was kept safe" facts={notes.map((n) => [n.name, (
        <div key={n.key}>
          {n.grave && <IconAlertTriangle size={14} aria-hidden className={classes.grave} />} {n.says}{" "}
          {n.call && <Anchor component="button" type="button" size="sm" underline="always" onClick={() => onFilter("call", n.call!)}>The first call</Anchor>}
          {n.approval && <TextLink to="/approvals/$approval" params={{ approval: n.approval }} size="sm" underline="always">The approval</TextLink>}
          {n.task && can("servers:read") && <TextLink to="/tasks" search={{ task: n.task }} size="sm" underline="always">The task</TextLink>}
          {n.to === "/limits" && can("limits:read") && <TextLink to="/limits" size="sm" underline="always">Limits</TextLink>}
          {n.to === "/switches" && can("switches:read") && <TextLink to="/switches" size="sm" underline="always">Kill switches</TextLink>}
          {n.to === "/deprecations" && can("servers:read") && <TextLink to="/deprecations" size="sm" underline="always">Deprecations</TextLink>}
        </div>
      )] as const)} />
    </section>
  );
}

function Id({ value, label }: { value: string; label: string }) {
  return <span className={classes.id}><span className="mono">{value}</span><CopyButton value={value} label={`Copy the ${label}`} /></span>;
}

function RecordFacts({ event, onFilter }: { event: AuditEvent; onFilter: Props["onFilter"] }) {
  const can = useCan();
  const filter = (aspect: Aspect, shown: ReactNode = valueOf(event, aspect)) => {
    const value = valueOf(event, aspect);
    return value && <Anchor component="button" type="button" size="sm" ta="start" onClick={() => onFilter(aspect, value)} aria-label={`Filter by ${aspectName(aspect).toLowerCase()} ${typeof shown === "string" ? shown : value}`}>{shown}</Anchor>;
  };
  return (
    <section>
      <Title order={3} mb={8}>Details</Title>
      <Facts facts={Object.entries<ReactNode>({
        Person: event.member && <>{filter("member")} {can("members:read") && <Text span size="xs" c="dimmed">· <TextLink to="/people/$member" params={{ member: event.member }} size="xs">their page</TextLink></Text>}</>,
        Client: event.client && filter("client", event.client_name ?? event.client),
        Server: event.server && <>{filter("server")} {event.revision && <Text span size="xs" c="dimmed">revision <span className="mono">{event.revision}</span></Text>}</>,
        [event.method === "resources/read" ? "Resource" : event.method === "api" ? "Operation" : "Tool"]: event.tool && filter("tool", <span className="mono">{event.tool}</span>),
        Scope: event.scope && <span className="mono">{event.scope}</span>,
        Grant: event.grant && filter("grant", <span className="mono">{event.grant}</span>),
        Decision: event.decision === "allowed" ? "Allowed" : "Refused",
        Reason: !event.code && event.reason,
        Took: event.latency_ms !== undefined && event.phase !== "intent" && <span className="num">{duration(event.latency_ms)}</span>,
        Answer: event.result_bytes !== undefined && <span className="num">{bytes(event.result_bytes)}</span>,
        Worker: event.worker && <span className="mono">{event.worker}</span>,
        Credential: event.lease_id && <Id value={event.lease_id} label="lease id" />,
        "Idempotency key": event.idempotency_key && <Id value={event.idempotency_key} label="idempotency key" />,
        Trace: event.trace_id && <Id value={event.trace_id} label="trace id" />,
        Call: event.call_id && <Id value={event.call_id} label="call id" />,
        Record: event.id && <Id value={event.id} label="record id" />,
      })} />
    </section>
  );
}

/** Records of the same call, oldest first. */
function Timeline({ call, current, onShow }: { call: readonly AuditEvent[]; current: string; onShow: (id: string) => void }) {
  if (call.length < 2) return null;
  const begin = call[0]!.at;
  return (
    <section>
      <Title order={3} mb={8}>This call</Title>
      <ol className={classes.timeline}>
        {call.map((e) => (
          <li key={e.id} aria-current={e.id === current || undefined}>
            <OutcomeMark outcome={e.outcome} />
            <span>{phaseWords(e)}{e.id === current ? <Badge ml={6}>this record</Badge> : <> · <Anchor component="button" type="button" size="sm" onClick={() => onShow(e.id)} aria-label={`Show the record: ${phaseWords(e)}, ${action(e)}`}>show</Anchor></>}</span>
            <span className="num">{e.at === begin ? exactTime(e.at).split(", ").at(-1) : `+${duration(between(begin, e.at))}`}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
