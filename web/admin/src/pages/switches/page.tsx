import { Badge, Button, Group, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconCircleCheck, IconPower } from "@tabler/icons-react";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { useSwitchesOn, type Switch } from "~/api/safety";
import { exactTime } from "~/lib/time";
import { LiftSwitch, SwitchOff } from "~/safety/switch-off";
import { TargetName } from "~/safety/target-name";
import { kinds } from "~/safety/targets";
import { PageHeader } from "~/ui/page-header";
import { PagedTable, usePages } from "~/ui/paged-table";
import { Section } from "~/ui/section";
import { EmptyState, Loaded } from "~/ui/states";
import { RelativeTime, TimeLeft } from "~/ui/time";
import classes from "./switches.module.css";

/** What is off now, the way to switch something off, and what ever was. */
export function Page() {
  const may = useCan()("switches:write");
  const on = useSwitchesOn();
  const [opened, dialog] = useDisclosure();
  const [lifting, setLifting] = useState<Switch>();
  return (
    <>
      <PageHeader title="Kill switches" actions={may && <Button color="red" leftSection={<IconPower size={15} aria-hidden />} onClick={dialog.open}>Switch off…</Button>}>
        Stops a tool, a server, a person, an app, or everything. The next call is refused within a second, on every edge.
      </PageHeader>
      <Loaded query={on} rows={3}>
        {(page) => page.data.length === 0
          ? <div className={classes.calm}><IconCircleCheck size={18} aria-hidden /> <span><b>Nothing is switched off.</b> Every call goes through that roles and limits let through.</span></div>
          : <ul className={classes.on} aria-label="Switched off now">{page.data.map((s) => <On key={s.target} of={s} onLift={may ? setLifting : undefined} />)}</ul>}
      </Loaded>
      <History />
      <SwitchOff opened={opened} onClose={dialog.close} />
      <LiftSwitch of={lifting} onClose={() => setLifting(undefined)} />
    </>
  );
}

function On({ of: s, onLift }: { of: Switch; onLift?: (s: Switch) => void }) {
  return (
    <li className={classes.item} data-all={s.kind === "tenant" || undefined}>
      <span className={classes.icon}><IconPower size={18} aria-hidden /></span>
      <div className={classes.words}>
        <div className={classes.target}><Badge color="red" variant={s.kind === "tenant" ? "filled" : "light"}>{kinds[s.kind].label}</Badge> <TargetName of={s} /></div>
        <div className={classes.reason}>{s.reason}</div>
        <div className={classes.meta}>
          <span>by {s.by}{s.by_role && `, ${s.by_role}`}</span>
          <span>since <RelativeTime at={s.created_at} /></span>
          {s.cancel_running && <span>running calls were cancelled</span>}
        </div>
      </div>
      <div className={classes.end}>
        {s.expires_at
          ? <><span className={classes.left}><TimeLeft until={s.expires_at} over="lifting" /></span><span className={classes.meta}>until {exactTime(s.expires_at)}</span></>
          : <><span className={classes.left}>No end</span><span className={classes.meta}>until somebody lifts it</span></>}
      </div>
      {onLift && <Button variant="default" onClick={() => onLift(s)} aria-label={`Lift the switch of ${s.name || s.target}`}>Lift</Button>}
    </li>
  );
}

function History() {
  const pages = usePages<Switch & { key: string }>(["switches", "history"], async (cursor, signal) => {
    const page = await body(api.GET("/tenants/{tenant}/switches", { params: { path: at(), query: { on: false, limit: 50, ...(cursor ? { cursor } : {}) } }, signal }));
    return { ...page, data: page.data.map((s) => ({ ...s, key: `${s.target} ${s.created_at}` })) };
  });
  return (
    <Section title="Before" says="What was switched off and is on again, newest first. The audit has every change.">
      <PagedTable
        pages={pages} label="Switches of before" one="switch" many="switches" rowKey="key"
        empty={<EmptyState compact icon={IconPower} title="Nothing was switched off before">What is lifted or runs out stands here, with its reason.</EmptyState>}
        columns={[
          { accessor: "target", title: "What", width: 260, render: (s) => <Group gap={6}><Badge>{kinds[s.kind].label}</Badge><span><TargetName of={s} /></span></Group> },
          { accessor: "reason", title: "Reason", width: 240, render: (s) => <Text size="sm" lineClamp={2} title={s.reason}>{s.reason}</Text> },
          { accessor: "created_at", title: "Switched off", width: 170, render: (s) => <><RelativeTime at={s.created_at} /><Text size="xs" c="dimmed">by {s.by}</Text></> },
          { accessor: "lifted_at", title: "On again", width: 170, render: (s) => <><RelativeTime at={s.lifted_at ?? s.expires_at} never="not known" /><Text size="xs" c="dimmed">{s.lifted_by ? `by ${s.lifted_by}` : "its time ran out"}</Text></> },
        ]}
      />
    </Section>
  );
}
