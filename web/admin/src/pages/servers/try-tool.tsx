import { Alert, Badge, Button, Group, Select, Stack, Tabs, Text, Textarea, TextInput } from "@mantine/core";
import { IconAlertTriangle, IconPlayerPlay } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { fieldErrors } from "~/api/problem";
import { argumentsOf, fieldsOf, type Field } from "~/lib/schema-form";
import { duration } from "~/lib/time";
import { CodeView, JsonView } from "~/ui/code";
import { CopyButton } from "~/ui/copy";
import { RiskMark } from "~/ui/risk";
import { ErrorState } from "~/ui/states";

type Tool = Schemas["Tool"];

interface Props {
  server: string;
  revision: number;
  tools: readonly Tool[];
  tool: string | undefined;
  onPick: (tool: string) => void;
}

/** Calls one tool as oneself, on a worker, on record. */
export function TryTool({ server, revision, tools, tool, onPick }: Props) {
  const chosen = tools.find((t) => t.name === tool) ?? tools[0];
  return (
    <Stack gap="md">
      <Select label="Tool" maw={420} allowDeselect={false} searchable data={tools.map((t) => ({ value: t.name, label: t.title ? `${t.title} (${t.name})` : t.name }))} value={chosen?.name ?? null} onChange={(v) => v && onPick(v)} />
      {chosen && <TryForm key={`${chosen.name} ${revision}`} server={server} revision={revision} tool={chosen} />}
    </Stack>
  );
}

function TryForm({ server, revision, tool }: { server: string; revision: number; tool: Tool }) {
  const fields = fieldsOf(tool.input_schema);
  const [values, setValues] = useState<Record<string, string>>({});
  const call = useMutation({
    mutationFn: () => body(api.POST("/tenants/{tenant}/servers/{server}/revisions/{revision}/try", { params: { path: at({ server, revision }) }, body: { tool: tool.name, arguments: argumentsOf(fields, values) } })),
  });
  const wrong = fieldErrors(call.error, fields.flatMap((f) => [f.name, `arguments.${f.name}`])).fields;
  const [missing, setMissing] = useState<readonly string[]>([]);
  const submit = () => {
    const empty = fields.filter((f) => f.required && !values[f.name]).map((f) => f.name);
    setMissing(empty);
    if (empty.length === 0) call.mutate();
  };
  const set = (name: string, value: string) => setValues((old) => ({ ...old, [name]: value }));
  return (
    <form noValidate onSubmit={(e) => { e.preventDefault(); submit(); }}>
      <Stack gap="md" maw={720}>
        <Group gap="md"><RiskMark risk={tool.risk} /><Text size="sm" c="dimmed">{tool.description}</Text></Group>
        {tool.risk !== "read" && <Alert color="amber" icon={<IconAlertTriangle aria-hidden />}>This is the real tool on the real system: what it does is done.</Alert>}
        {fields.map((f) => <Argument key={f.name} field={f} value={values[f.name] ?? ""} error={wrong[f.name] ?? wrong[`arguments.${f.name}`] ?? (missing.includes(f.name) && !values[f.name] ? "The tool needs it" : undefined)} onChange={(v) => set(f.name, v)} />)}
        <Group><Button type="submit" color={tool.risk === "destructive" ? "red" : undefined} loading={call.isPending} leftSection={<IconPlayerPlay size={15} aria-hidden />}>Call {tool.name}</Button></Group>
        {call.isError && <ErrorState error={call.error} title="The call was refused" />}
        {call.data && <Result result={call.data} />}
      </Stack>
    </form>
  );
}

function Argument({ field, value, error, onChange }: { field: Field; value: string; error?: string; onChange: (value: string) => void }) {
  const common = { label: field.name, description: field.description || undefined, error, required: field.required, placeholder: field.example || undefined };
  if (field.kind === "choice") return <Select {...common} data={field.options} value={value || null} clearable={!field.required} onChange={(v) => onChange(v ?? "")} />;
  if (field.kind === "boolean") return <Select {...common} data={["true", "false"]} value={value || null} clearable onChange={(v) => onChange(v ?? "")} />;
  if (field.kind === "json") return <Textarea {...common} autosize minRows={3} value={value} onChange={(e) => onChange(e.currentTarget.value)} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} />;
  return <TextInput {...common} inputMode={field.kind === "text" ? undefined : "decimal"} value={value} onChange={(e) => onChange(e.currentTarget.value)} autoComplete="off" />;
}

function Result({ result }: { result: Schemas["TryResult"] }) {
  const text = pretty(result.text ?? "");
  return (
    <section aria-label="Answer">
      <Group gap="sm" mb="xs" role="status">
        {result.is_error ? <Badge color="red">Failed</Badge> : <Badge color="green">Done</Badge>}
        <Text size="sm" c="dimmed" className="num">{duration(result.latency_ms)}{result.worker && ` on ${result.worker}`}</Text>
        <Group gap={2}><Text size="xs" c="dimmed">Call <span className="mono">{result.call_id}</span></Text><CopyButton value={result.call_id} label="Copy the call id" /></Group>
      </Group>
      {result.structured ? (
        <Tabs defaultValue="structured">
          <Tabs.List mb="xs"><Tabs.Tab value="structured">Structured</Tabs.Tab><Tabs.Tab value="text">What the model reads</Tabs.Tab></Tabs.List>
          <Tabs.Panel value="structured"><JsonView value={result.structured} label="Structured answer" /></Tabs.Panel>
          <Tabs.Panel value="text"><CodeView value={text} label="Text of the answer" /></Tabs.Panel>
        </Tabs>
      ) : <CodeView value={text} label="Text of the answer" />}
    </section>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
