import { Accordion, Alert, Anchor, Group, Text } from "@mantine/core";
import { IconMail, IconMailOff } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { api, body, type Schemas } from "~/api/client";
import { PageHeader } from "~/ui/page-header";
import { EmptyState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { pieces } from "./pieces";
import classes from "./mail.module.css";

/** Mail that a platform without an SMTP server writes down instead of sending. */
export function Page() {
  const query = useQuery({ queryKey: ["mailbox"], queryFn: ({ signal }) => body(api.GET("/mailbox", { signal })), refetchInterval: 10_000 });
  return (
    <>
      <PageHeader title="Mail">Invitations and new passwords go out by mail. Without an SMTP server they are written here.</PageHeader>
      <Loaded query={query} rows={5}>
        {({ development, data }) => !development ? (
          <EmptyState icon={IconMail} title="Mail is sent">An SMTP server is set, so nothing is kept here.</EmptyState>
        ) : (
          <>
            <Alert color="amber" icon={<IconMailOff aria-hidden />} mb="md">No SMTP server is set: nobody gets any of this. Whoever reads it can become the person it is for, so do not run a platform for others like this.</Alert>
            {data.length === 0 ? <EmptyState icon={IconMail} title="No mail yet">Invite somebody and the mail stands here.</EmptyState> : <Letters mails={data} />}
          </>
        )}
      </Loaded>
    </>
  );
}

function Letters({ mails }: { mails: Schemas["Mail"][] }) {
  return (
    <Accordion variant="separated" defaultValue="0" order={2} transitionDuration={0}>
      {mails.map((m, i) => (
        <Accordion.Item key={`${m.at} ${m.to}`} value={String(i)}>
          <Accordion.Control>
            <Group justify="space-between" gap="xs"><span><Text span fw={550}>{m.subject}</Text> <Text span size="sm" c="dimmed">to {m.to}</Text></span><Text span size="xs" c="dimmed"><RelativeTime at={m.at} /></Text></Group>
          </Accordion.Control>
          <Accordion.Panel>
            <div className={classes.text}>{pieces(m.text).map((p, at) => (p.link ? <Anchor key={at} href={p.text} target="_blank" rel="noreferrer">{p.text}</Anchor> : <span key={at}>{p.text}</span>))}</div>
          </Accordion.Panel>
        </Accordion.Item>
      ))}
    </Accordion>
  );
}
