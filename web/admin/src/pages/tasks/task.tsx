import { Alert, Badge, Button, Drawer, Group, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { isMissing } from "~/api/problem";
import { explainCode } from "~/lib/codes";
import { duration } from "~/lib/time";
import { count } from "~/lib/words";
import { ConfirmDialog } from "~/ui/confirm";
import { CopyButton } from "~/ui/copy";
import { Facts } from "~/ui/facts";
import { ButtonLink, TextLink } from "~/ui/link";
import { RiskMark } from "~/ui/risk";
import { EmptyState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { goesOn, statuses, type Task } from "./words";

/** One task; read again while it goes on. */
export function TaskDrawer({ task, onClose }: { task: string | undefined; onClose: () => void }) {
  return <Drawer opened={task !== undefined} onClose={onClose} title="Task">{task && <Body key={task} id={task} />}</Drawer>;
}

function Body({ id }: { id: string }) {
  const query = useQuery({
    queryKey: ["tasks", "one", id],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/tasks/{task}", { params: { path: at({ task: id }) }, signal })),
    refetchInterval: ({ state: { data } }) => (data && goesOn(data) ? 3000 : false), staleTime: 0,
  });
  if (isMissing(query.error)) return <EmptyState title="There is no such task">Its time is over and it was forgotten, or it is not yours to see.</EmptyState>;
  return <Loaded query={query} rows={7}>{(task) => <Detail task={task} />}</Loaded>;
}

function Detail({ task: t }: { task: Task }) {
  const can = useCan();
  const client = useQueryClient();
  const [asking, ask] = useDisclosure();
  const { label, color, says } = statuses[t.status];
  return (
    <Stack gap="md">
      <div>
        <Group gap="xs"><Badge color={color}>{label}</Badge><Text size="sm" c="dimmed">{says}</Text></Group>
        {t.message && <Text mt={8}>{t.message}</Text>}
      </div>
      {t.outcome_unknown && <Alert color="red" icon={<IconAlertTriangle aria-hidden />} title="It may or may not have taken effect">Nobody runs it again. Look in the system behind the tool whether it happened before anybody repeats it.</Alert>}
      {t.code && (
        <Alert color="amber" title={<span className="mono">{t.code}</span>}>{explainCode(t.code).means} <b>What to do.</b> {explainCode(t.code).todo}</Alert>
      )}
      <Group gap="xs">
        {goesOn(t) && can("servers:write") && <Button color="red" variant="light" disabled={t.cancel_asked} onClick={ask.open}>{t.cancel_asked ? "Asked to end" : "Cancel the task"}</Button>}
        {can("audit:read") && <ButtonLink variant="default" to="/audit" search={{ call: t.call_id }}>Its records</ButtonLink>}
      </Group>
      <Facts label="Task" facts={[
        ["Tool", <TextLink key="tool" to="/tools/$server/$tool" params={{ server: t.server, tool: t.tool }}>{t.tool}</TextLink>],
        ["Server", <TextLink key="server" to="/servers/$server" params={{ server: t.server }}>{t.server}</TextLink>],
        ["Risk", <RiskMark key="risk" risk={t.risk} />],
        ["Person", can("members:read") ? <TextLink key="member" to="/people/$member" params={{ member: t.member }}>{t.member}</TextLink> : t.member],
        ["Client", <span key="client" className="mono">{t.client}</span>],
        ["Made", <RelativeTime key="made" at={t.created_at} />],
        ["Begun", t.started_at && <RelativeTime key="begun" at={t.started_at} />],
        ["Ended", t.ended_at && <span key="ended"><RelativeTime at={t.ended_at} />{t.started_at && <> after <span className="num">{duration(Date.parse(t.ended_at) - Date.parse(t.started_at))}</span></>}</span>],
        ["Handed to a worker", t.runs > 0 && count(t.runs, "time")],
        ["Asked to end by", t.cancelled_by || (t.cancel_asked && "who made the call")],
        ["Forgotten", <RelativeTime key="forgotten" at={t.expires_at} />],
        ["Id", <Group key="id" gap={2} wrap="nowrap"><span className="mono">{t.id}</span><CopyButton value={t.id} label="Copy the task id" /></Group>],
      ]} />
      <ConfirmDialog opened={asking} onClose={ask.close} title={`Cancel ${t.tool}`} action="Cancel the task" danger onConfirm={async () => {
        await body(api.PUT("/tenants/{tenant}/tasks/{task}/cancellation", { params: { path: at({ task: t.id }) } }));
        toast.done("It is asked to end.");
        await client.invalidateQueries({ queryKey: ["tasks"] });
      }}>
        {t.status === "queued" ? "It does not run any more." : "It is told to stop. What it has done by then stays done, and it may end otherwise all the same."} {t.member} is told that it was cancelled.
      </ConfirmDialog>
    </Stack>
  );
}
