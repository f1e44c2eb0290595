import { Alert, Badge, Button, CloseButton, Stack, Text, TextInput } from "@mantine/core";
import { useForm, type UseFormReturnType } from "@mantine/form";
import { IconCloudOff, IconGauge } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { DataTable } from "mantine-datatable";
import { api, at, body, tagged, type Schemas, type Tagged } from "~/api/client";
import { useCan } from "~/api/me";
import { isStale } from "~/api/problem";
import { showProblem, zodValidate } from "~/lib/form";
import { limitWords } from "~/lib/safety-words";
import { TextLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import tables from "~/ui/paged-table.module.css";
import { Section } from "~/ui/section";
import { StaleAlert } from "~/ui/stale";
import { EmptyState, ErrorState, Loaded } from "~/ui/states";
import { toast } from "~/ui/toast";
import { fields, groupNames, groups, limitsOf, schema, stores, valuesOf, type Group, type Values } from "./model";
import classes from "./limits.module.css";

type State = Schemas["LimitsState"];

/** How often and how many at once: the tenant's own numbers over the platform's. */
export function Page() {
  const query = useQuery({ queryKey: ["limits"], queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}/limits", { params: { path: at() }, signal })) });
  const store = query.data && stores[query.data.data.store];
  return (
    <>
      <PageHeader title="Limits" badge={store && <Badge color={store.color}>Counted {store.label.charAt(0).toLowerCase() + store.label.slice(1)}</Badge>}>
        They stop an agent that runs in a loop, and nobody who works. Every one of them must let a call through; who reaches one is told how many seconds to wait.
      </PageHeader>
      <Loaded query={query} rows={8}>
        {(read) => (
          <Stack gap="md">
            {read.data.store === "degraded" && <Alert color="amber" icon={<IconCloudOff aria-hidden />} title="Each edge counts for itself">{stores.degraded.says}</Alert>}
            <LimitsForm key={read.etag} read={read} onReload={() => void query.refetch()} />
            <OwnLimits tools={read.data.tools} />
            <Section title="Where calls are counted" says={stores[read.data.store].label}><Text size="sm">{stores[read.data.store].says} A change of the limits holds on every edge within a second; what was counted before stays counted.</Text></Section>
          </Stack>
        )}
      </Loaded>
    </>
  );
}

function LimitsForm({ read, onReload }: { read: Tagged<State>; onReload: () => void }) {
  const may = useCan()("limits:write");
  const client = useQueryClient();
  const defaults = valuesOf(read.data.defaults);
  const form = useForm<Values>({ initialValues: valuesOf(read.data.own), validate: zodValidate(schema) });
  const save = useMutation({
    mutationFn: (values: Values) => body(api.PUT("/tenants/{tenant}/limits", { params: { path: at(), header: { "If-Match": read.etag } }, body: limitsOf(values) })),
    onSuccess: async () => {
      toast.done("The limits hold on every edge within a second.");
      await client.invalidateQueries({ queryKey: ["limits"] });
    },
    onError: (error) => showProblem(form as never, error, fields),
  });
  const dirty = form.isDirty();
  return (
    <form noValidate onSubmit={form.onSubmit((values) => save.mutate(values))}>
      <Stack gap="md">
        <Section padded={false} title="Calls" says="What you leave empty is the platform's default, which stands in the field.">
          {groupNames.map((g) => <LimitGroup key={g} group={g} form={form} defaults={defaults} readOnly={!may} />)}
        </Section>
        <Section title="Loops" says="Within one minute. Noticing says so in the answer; refusing stops the call until the minute is over.">
          <div className={classes.pairs}>
            <Field form={form} path="repeats.notice" byDefault={defaults.repeats.notice} readOnly={!may} label="Say so from the nth identical call on" description="Same tool, same arguments, same session; or never" />
            <Field form={form} path="repeats.refuse" byDefault={defaults.repeats.refuse} readOnly={!may} label="Refuse from the nth identical call on" description="It also raises an event; or never" />
            <Field form={form} path="fan_out.calls" byDefault={defaults.fan_out.calls} readOnly={!may} label="Raise an event above this many calls" description="Of one person in a minute; refuses nothing; or never" />
          </div>
        </Section>
        {isStale(save.error) ? <StaleAlert what="The limits of the tenant" onReload={onReload} /> : save.isError && <ErrorState error={save.error} title="The limits were not saved" />}
        {may && dirty && (
          <div className={classes.bar} role="region" aria-label="Changes">
            <span>Not saved yet.</span>
            <Button variant="default" onClick={() => { form.reset(); save.reset(); }}>Put them back</Button>
            <Button type="submit" loading={save.isPending}>Save the limits</Button>
          </div>
        )}
      </Stack>
    </form>
  );
}

interface FieldProps {
  form: UseFormReturnType<Values>;
  path: string;
  /** The platform's, as one would type it. */
  byDefault: string;
  label: string;
  description?: string;
  readOnly: boolean;
  className?: string;
  /** Where there is no default. */
  without?: string;
  /** Who the field is of, for who does not see what stands beside it. */
  of?: string;
}

function Field({ form, path, byDefault, label, description, readOnly, className, without = "no limit", of }: FieldProps) {
  const input = form.getInputProps(path);
  const own = String(input.value) !== "";
  const name = of ? `${label}: ${of}` : label;
  return (
    <TextInput
      {...input} label={label} aria-label={name} description={description} inputWrapperOrder={["label", "input", "description", "error"]} className={className} placeholder={byDefault ? `${byDefault} (default)` : without} readOnly={readOnly} spellCheck={false} autoComplete="off"
      rightSection={own && !readOnly && <CloseButton size="sm" aria-label={`Use the default: ${name}`} title="Use the default" onClick={() => form.setFieldValue(path as never, "" as never)} />}
    />
  );
}

function LimitGroup({ group: g, form, defaults, readOnly }: { group: Group; form: UseFormReturnType<Values>; defaults: Values; readOnly: boolean }) {
  const { label, says } = groups[g];
  const d = defaults[g];
  const own = Object.values(form.values[g]).some((v) => v !== "");
  return (
    <div className={classes.group} role="group" aria-label={label}>
      <div className={classes.who}>
        <div className={classes.whoName}>{label} {own && <Badge color="accent" ml={4}>own</Badge>}</div>
        <div className={classes.whoSays}>{says}</div>
        {own && !readOnly && <button type="button" className={classes.clear} aria-label={`Use the defaults: ${label}`} onClick={() => form.setFieldValue(g, { rate: "", burst: "", concurrency: "", message: "" })}>Use the defaults</button>}
      </div>
      <Field form={form} path={`${g}.rate`} byDefault={d.rate} label="Rate" of={label} readOnly={readOnly} className={classes.rate} />
      <Field form={form} path={`${g}.burst`} byDefault={d.burst} label="At once" of={label} readOnly={readOnly} without="as the rate" />
      <Field form={form} path={`${g}.concurrency`} byDefault={d.concurrency} label="Running together" of={label} readOnly={readOnly} />
      <Field form={form} path={`${g}.message`} byDefault="" label="What who reaches it is told" of={label} readOnly={readOnly} without="the platform's words" className={classes.message} />
    </div>
  );
}

function OwnLimits({ tools }: { tools: State["tools"] }) {
  const can = useCan();
  return (
    <Section title="Tools with limits of their own" says="They stand in the server's spec and come on top of those above.">
      {tools.length === 0 ? <EmptyState compact icon={IconGauge} title="No tool has any">A tool's page has the way to set them.</EmptyState> : (
        <DataTable
          records={tools.map((t) => ({ ...t, key: `${t.server} ${t.tool}` }))} idAccessor="key" className={tables.table} withTableBorder={false} borderRadius="lg" fz="sm" verticalSpacing={9} minHeight={0}
          scrollAreaProps={{ viewportProps: { tabIndex: 0, role: "region", "aria-label": "Tools and their limits" } }}
          columns={[
            { accessor: "tool", title: "Tool", width: 220, render: (t) => <>{can("servers:read") ? <TextLink to="/tools/$server/$tool" params={{ server: t.server, tool: t.tool }} fw={550} c="inherit">{t.tool}</TextLink> : t.tool}<Text size="xs" c="dimmed" className="mono">{t.server}</Text></> },
            ...(["all", "user", "session"] as const).map((who) => ({ accessor: who, title: { all: "All callers together", user: "Each person", session: "Each session" }[who], width: 220, render: (t: State["tools"][number]) => <>{limitWords(t[who]) || <Text span size="sm" c="dimmed">none</Text>}{t[who]?.message && <Text size="xs" c="dimmed">“{t[who].message}”</Text>}</> })),
          ]}
        />
      )}
    </Section>
  );
}
