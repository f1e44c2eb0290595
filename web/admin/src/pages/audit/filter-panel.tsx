import { Badge, Button, Group, Pill, Popover, Select, SimpleGrid, Stack, Text, TextInput, UnstyledButton } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconAdjustmentsHorizontal, IconClock, IconFilterOff } from "@tabler/icons-react";
import { useState, type ReactNode } from "react";
import { useClientChoices, useMemberChoices, useServerChoices, useToolChoices } from "~/api/choices";
import { categoryOptions, codeNames } from "~/lib/codes";
import { withFilter } from "~/lib/filters";
import { outcomeOptions } from "~/ui/outcome";
import { SuggestField } from "~/ui/suggest-field";
import { aspectName, aspects, aspectValue, fromLocalInput, methods, ranges, timeWords, toLocalInput, type Aspect, type AuditSearch, type Range } from "./filters";
import classes from "./filter-panel.module.css";

interface Props {
  search: AuditSearch;
  onChange: (search: AuditSearch) => void;
  children?: ReactNode;
}

const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const often = new Set<Aspect>(["outcome", "member", "server"]);
const seldom = aspects.filter((a) => !often.has(a));

/** The filters of the audit. The ones of everyday stand open, the others behind a button, and as words below while they are set. */
export function FilterPanel({ search, onChange, children }: Props) {
  const members = useMemberChoices();
  const servers = useServerChoices();
  const set = (patch: Partial<AuditSearch>) => onChange(withFilter(search, patch));
  const active = seldom.filter((a) => search[a] !== undefined);
  const any = aspects.some((a) => search[a] !== undefined) || search.range !== undefined || search.since !== undefined || search.until !== undefined;
  return (
    <div role="search" aria-label="Records" className={classes.panel}>
      <Group gap="xs">
        <TimeFilter search={search} onChange={onChange} />
        <Select aria-label="Outcome" placeholder="Outcome" w={128} clearable clearButtonProps={{ "aria-label": "Clear: Outcome" }} data={outcomeOptions} value={search.outcome ?? null} onChange={(v) => set({ outcome: (v ?? undefined) as AuditSearch["outcome"] })} />
        <SuggestField label="Person" value={search.member} suggestions={members} onChange={(member) => set({ member })} />
        <SuggestField label="Server" width={150} value={search.server} suggestions={servers} onChange={(server) => set({ server })} />
        <MoreFilters search={search} set={set} count={active.length} />
        {any && <Button variant="subtle" color="gray" leftSection={<IconFilterOff size={15} aria-hidden />} onClick={() => onChange(withFilter({ live: search.live }, {}))}>Clear filters</Button>}
        {children && <Group gap="xs" ml="auto">{children}</Group>}
      </Group>
      {active.length > 0 && (
        <Group gap={6} mt="xs">
          {active.map((a) => (
            <Pill key={a} withRemoveButton onRemove={() => set({ [a]: undefined })} removeButtonProps={{ "aria-label": `Remove the filter ${aspectName(a)}`, "aria-hidden": false, tabIndex: 0 }} className={classes.pill}>
              {aspectName(a)}: {aspectValue(a, String(search[a]))}
            </Pill>
          ))}
        </Group>
      )}
    </div>
  );
}

function TimeFilter({ search, onChange }: Props) {
  const [opened, { toggle, close }] = useDisclosure();
  const set = (patch: Partial<AuditSearch>) => onChange(withFilter(search, patch));
  return (
    <Popover opened={opened} onClose={close} onDismiss={close} position="bottom-start" shadow="md" trapFocus transitionProps={{ duration: 0 }}>
      <Popover.Target>
        <Button variant="default" leftSection={<IconClock size={15} aria-hidden />} onClick={toggle} disabled={search.live} aria-haspopup="dialog" aria-expanded={opened} className={classes.time}>
          {search.live ? "From now on" : timeWords(search)}
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="Time">
        <Stack gap={2} mb="sm" role="group" aria-label="Quick ranges">
          {([undefined, ...Object.keys(ranges)] as (Range | undefined)[]).map((range) => {
            const on = search.range === range && (range !== undefined || (!search.since && !search.until));
            return (
              <UnstyledButton key={range ?? "any"} className={classes.quick} aria-pressed={on} onClick={() => { set({ range, since: undefined, until: undefined }); close(); }}>
                {range ? ranges[range].label : "Any time"}
              </UnstyledButton>
            );
          })}
        </Stack>
        <CustomTime search={search} onApply={(since, until) => { set({ range: undefined, since, until }); close(); }} />
      </Popover.Dropdown>
    </Popover>
  );
}

function CustomTime({ search, onApply }: { search: AuditSearch; onApply: (since: string | undefined, until: string | undefined) => void }) {
  const [since, setSince] = useState(toLocalInput(search.since));
  const [until, setUntil] = useState(toLocalInput(search.until));
  const wrong = since !== "" && until !== "" && since >= until;
  return (
    <form onSubmit={(e) => { e.preventDefault(); if (!wrong) onApply(fromLocalInput(since), fromLocalInput(until)); }}>
      <Stack gap="xs">
        <TextInput type="datetime-local" label="From" value={since} onChange={(e) => setSince(e.currentTarget.value)} />
        <TextInput type="datetime-local" label="Until" value={until} error={wrong && "Ends before it begins"} onChange={(e) => setUntil(e.currentTarget.value)} />
        <Text size="xs" c="dimmed">In the time of this computer: {zone}.</Text>
        <Button type="submit" variant="default" disabled={wrong || (since === "" && until === "")}>Show this time</Button>
      </Stack>
    </form>
  );
}

function MoreFilters({ search, set, count }: { search: AuditSearch; set: (patch: Partial<AuditSearch>) => void; count: number }) {
  const tools = useToolChoices(search.server);
  const clients = useClientChoices();
  return (
    <Popover position="bottom-start" shadow="md" trapFocus transitionProps={{ duration: 0 }} width={380}>
      <Popover.Target>
        <Button variant="default" leftSection={<IconAdjustmentsHorizontal size={15} aria-hidden />} rightSection={count > 0 && <Badge color="accent" circle>{count}</Badge>}>More filters</Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="More filters" maw="calc(100vw - 24px)">
        <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm">
          <SuggestField labelled width="100%" label="Tool" value={search.tool} suggestions={tools} onChange={(tool) => set({ tool })} />
          <SuggestField labelled width="100%" label="Client" value={search.client} suggestions={clients} onChange={(client) => set({ client })} />
          <Select label="Category" placeholder="Any" clearable clearButtonProps={{ "aria-label": "Clear: Category" }} data={categoryOptions} value={search.category ?? null} onChange={(v) => set({ category: (v ?? undefined) as AuditSearch["category"] })} />
          <SuggestField labelled width="100%" label="Code" value={search.code} suggestions={codeNames} onChange={(code) => set({ code })} />
          <Select label="Method" placeholder="Any" clearable clearButtonProps={{ "aria-label": "Clear: Method" }} data={methods} value={search.method ?? null} onChange={(v) => set({ method: (v ?? undefined) as AuditSearch["method"] })} />
          <SuggestField labelled width="100%" label="Call" value={search.call} suggestions={[]} onChange={(call) => set({ call })} />
          <SuggestField labelled width="100%" label="Grant" value={search.grant} suggestions={[]} onChange={(grant) => set({ grant })} />
        </SimpleGrid>
      </Popover.Dropdown>
    </Popover>
  );
}
