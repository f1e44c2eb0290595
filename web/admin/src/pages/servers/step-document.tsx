import { Alert, Badge, Button, Checkbox, FileButton, Group, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconFileUpload, IconSearch } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import type { Declared } from "~/connection/sql";
import { bytes, count } from "~/lib/words";
import { toYAML } from "~/lib/yaml";
import { PagedTable, usePages } from "~/ui/paged-table";
import { RiskMark } from "~/ui/risk";
import { EmptyState, ErrorState } from "~/ui/states";
import classes from "./step-document.module.css";

type Inspection = Schemas["OpenAPIInspection"];
type Operation = Schemas["OpenAPIOperation"];

export interface Proposed {
  spec: string;
  connection: Declared;
  notes: string[];
}

interface Props {
  onBack: () => void;
  onSkip: () => void;
  onProposed: (proposed: Proposed) => void;
}

const inspect = (request: Schemas["OpenAPIInspect"], signal?: AbortSignal) => body(api.POST("/tenants/{tenant}/openapi/inspect", { params: { path: at() }, body: request, signal }));

/** Tools of an API are made of operations of its document, chosen here, or written by hand. */
export function StepDocument({ onBack, onSkip, onProposed }: Props) {
  const [text, setText] = useState("");
  const read = useMutation({ mutationFn: (document: string) => inspect({ document, limit: 1 }) });
  if (read.data) return <Choose document={text} head={read.data} onBack={() => read.reset()} onProposed={onProposed} />;
  return (
    <Stack gap="md" maw={720}>
      <Text size="sm" c="dimmed">If the API has an OpenAPI document, choose operations of it. Nothing in it is fetched, and nothing is kept but what the chosen ones need.</Text>
      <Given text={text} onText={setText} />
      {read.isError && <ErrorState error={read.error} title="The document cannot be read" />}
      <Group justify="space-between">
        <Button variant="default" onClick={onBack}>Back</Button>
        <Group gap="xs"><Button variant="default" onClick={onSkip}>Write tools by hand</Button><Button disabled={text.trim() === ""} loading={read.isPending} onClick={() => read.mutate(text)}>Read the document</Button></Group>
      </Group>
    </Stack>
  );
}

const most = 32 << 20;

/** Pasted, chosen or dropped. A large one is not drawn. */
function Given({ text, onText }: { text: string; onText: (text: string) => void }) {
  const [over, setOver] = useState(false);
  const [wrong, setWrong] = useState("");
  const take = async (file: File | null | undefined) => {
    setOver(false);
    if (!file) return;
    setWrong(file.size > most ? `${file.name} has ${bytes(file.size)}; 32 MB are read at most.` : "");
    if (file.size <= most) onText(await file.text());
  };
  return (
    // Dropping is a shortcut: the button beside it does the same by keyboard.
    <div className={classes.drop} data-over={over || undefined} onDragOver={(e) => { e.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={(e) => { e.preventDefault(); void take(e.dataTransfer.files[0]); }}>
      {text.length > 200_000
        ? <Group justify="space-between"><Text size="sm">A document of {bytes(text.length)}</Text><Button variant="subtle" color="gray" onClick={() => onText("")}>Take another</Button></Group>
        : <Textarea label="OpenAPI document" description="JSON or YAML, 3.0 or 3.1; paste it, or drop a file" autosize minRows={8} maxRows={16} spellCheck={false} value={text} onChange={(e) => onText(e.currentTarget.value)} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} />}
      <Group mt="xs"><FileButton accept=".json,.yaml,.yml" onChange={(file) => void take(file)}>{(props) => <Button {...props} variant="default" leftSection={<IconFileUpload size={15} aria-hidden />}>Choose a file</Button>}</FileButton></Group>
      {wrong && <Text size="sm" c="var(--lk-bad)" role="alert" mt="xs">{wrong}</Text>}
    </div>
  );
}

function Choose({ document, head, onBack, onProposed }: { document: string; head: Inspection; onBack: () => void; onProposed: Props["onProposed"] }) {
  const id = useId();
  const [search, setSearch] = useState("");
  const [settled] = useDebouncedValue(search.trim(), 300);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  // By the step, not by the document: it has megabytes, and one step has one.
  const pages = usePages<Operation>(["openapi", id, settled], async (cursor, signal) => {
    const found = await inspect({ document, limit: 50, ...(settled && { search: settled }), ...(cursor && { cursor }) }, signal);
    return { data: found.operations, next_cursor: found.next_cursor, has_more: found.next_cursor !== undefined };
  });
  const propose = useMutation({
    mutationFn: async () => {
      const { proposal } = await inspect({ document, limit: 1, operations: [...chosen] });
      return proposal!;
    },
    onSuccess: (p) => onProposed({ spec: toYAML(p.spec, ["document"]), connection: p.connection as Declared, notes: p.notes }),
  });
  const toggle = (operation: string) => setChosen((old) => { const next = new Set(old); if (!next.delete(operation)) next.add(operation); return next; });
  return (
    <Stack gap="md">
      <Group justify="space-between" align="flex-end">
        <div>
          <Text fw={580}>{head.title} {head.version && <Text span c="dimmed" size="sm">{head.version}</Text>}</Text>
          <Text size="sm" c="dimmed">{count(head.total, "operation")}. A model finds its way among a few dozen tools, so choose.</Text>
        </div>
        <TextInput aria-label="Search operations" placeholder="Search operations" type="search" w={280} leftSection={<IconSearch size={15} aria-hidden />} value={search} onChange={(e) => setSearch(e.currentTarget.value)} />
      </Group>
      <PagedTable
        pages={pages} label="Operations" one="operation" rowKey="operation"
        empty={<EmptyState compact title="No operation matches">Try fewer words: they are looked for in names, paths, summaries and tags.</EmptyState>}
        columns={[
          { accessor: "operation", title: "", width: 40, render: (o) => <Checkbox aria-label={`Choose ${o.operation}`} checked={chosen.has(o.operation)} disabled={o.problems.length > 0 || (chosen.size >= 500 && !chosen.has(o.operation))} onChange={() => toggle(o.operation)} /> },
          {
            accessor: "summary", title: "Operation", render: (o) => (
              <div>
                <Text size="sm">{o.summary || o.id || o.operation} {o.deprecated && <Badge color="amber">Deprecated</Badge>}</Text>
                <Text size="xs" c="dimmed" className="mono">{o.operation}</Text>
                {o.problems.map((p) => <Text key={p} size="xs" c="var(--lk-bad)">{p}</Text>)}
                {o.notes.map((n) => <Text key={n} size="xs" c="dimmed">{n}</Text>)}
              </div>
            ),
          },
          { accessor: "tool", title: "Becomes", width: 220, visibleMediaQuery: "(min-width: 700px)", render: (o) => <span className="mono">{o.tool}</span> },
          { accessor: "risk", width: 130, render: (o) => <RiskMark risk={o.risk} /> },
        ]}
      />
      {propose.isError && <ErrorState error={propose.error} title="No spec could be made of them" />}
      {chosen.size >= 500 && <Alert color="amber">500 at most are taken from a document at once.</Alert>}
      <Group justify="space-between">
        <Button variant="default" onClick={onBack}>Another document</Button>
        <Group gap="sm">
          <Text size="sm" c="dimmed" role="status" className="num">{chosen.size === 0 ? "None is chosen" : `${count(chosen.size, "operation")} chosen`}</Text>
          <Button disabled={chosen.size === 0} loading={propose.isPending} onClick={() => propose.mutate()}>{chosen.size === 0 ? "Make tools" : `Make ${count(chosen.size, "tool")}`}</Button>
        </Group>
      </Group>
    </Stack>
  );
}
