import { Button, Drawer, Group, Stack, Text, Textarea } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Schemas, Tagged } from "~/api/client";
import { isStale } from "~/api/problem";
import { safetyExamples, safetyPatch, safetyWords } from "~/lib/safety-words";
import { StaleAlert } from "~/ui/stale";
import { ErrorState } from "~/ui/states";
import { changeTool, Changes, useSaved, type Seen } from "./change";
import classes from "./safety.module.css";

type Tool = Schemas["Tool"];

interface Props {
  read: Tagged<Tool>;
  opened: boolean;
  onClose: () => void;
  onReload: () => void;
}

/** The tool's safety as its spec has it: edited as JSON, with what it means beside it. */
export function EditSafety({ read, opened, onClose, onReload }: Props) {
  return (
    <Drawer opened={opened} onClose={onClose} title={`How ${read.data.name} is kept safe`} size="xl">
      <Edit key={read.etag} read={read} onClose={onClose} onReload={onReload} />
    </Drawer>
  );
}

const pretty = (value: unknown) => JSON.stringify(value ?? {}, null, 2);

/** The text as an object, or what is wrong with it. */
export function parseSafety(text: string): { value: Record<string, unknown> } | { problem: string } {
  try {
    const value: unknown = text.trim() === "" ? {} : JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return { problem: "It must be one object: { … }" };
    return { value: value as Record<string, unknown> };
  } catch (error) {
    return { problem: `It is no JSON yet: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function Edit({ read, onClose, onReload }: Omit<Props, "opened">) {
  const client = useQueryClient();
  const t = read.data;
  const before = t.safety ?? {};
  const [text, setText] = useState(() => pretty(before));
  const [seen, setSeen] = useState<Seen>();
  const parsed = parseSafety(text);
  const value = "value" in parsed ? parsed.value : undefined;
  const patch = value && safetyPatch(before, value);
  const dirty = patch !== undefined && Object.keys(patch).length > 0;
  const look = useMutation({
    mutationFn: (safety: Record<string, unknown>) => changeTool(read, { safety }, { dry_run: true }),
    onSuccess: ({ diff, findings }, safety) => setSeen({ change: { safety }, diff, findings }),
  });
  const saved = useSaved(t, client, onClose);

  if (seen) return <Changes read={read} seen={seen} onBack={() => setSeen(undefined)} onSaved={saved} onReload={onReload} />;
  return (
    <form noValidate onSubmit={(e) => { e.preventDefault(); if (dirty) look.mutate(patch); }}>
      <Stack gap="md">
        <Text size="sm" c="dimmed">The same keys as in the server's YAML. What is left out is the platform's default.</Text>
        <div className={classes.keys} role="group" aria-label="Add a key">
          {Object.keys(safetyExamples).filter((key) => value && !(key in value)).map((key) => (
            <Button key={key} size="compact-sm" variant="default" leftSection={<IconPlus size={13} aria-hidden />} onClick={() => setText(pretty({ ...value, [key]: safetyExamples[key] }))} aria-label={`Add ${key}`}>{key}</Button>
          ))}
        </div>
        <Textarea className={classes.text} label="Safety in JSON" autosize minRows={10} maxRows={24} spellCheck={false} autoComplete="off" value={text} error={"problem" in parsed ? parsed.problem : undefined} onChange={(e) => setText(e.currentTarget.value)} />
        {value && dirty && (
          <section aria-label="What it would mean">
            <Text size="sm" fw={560} mb={4}>What it would mean</Text>
            <dl className={classes.parts}>
              {safetyWords(value, t.risk).filter((p) => p.key in patch || (p.key === "version" && "replaces" in patch)).map((p) => <div key={p.key}><dt>{p.name}</dt><dd>{p.says.map((line) => <div key={line}>{line}</div>)}</dd></div>)}
            </dl>
          </section>
        )}
        {isStale(look.error) ? <StaleAlert what={`The server ${t.server}`} onReload={onReload} /> : look.isError && <ErrorState error={look.error} title="It cannot be so" />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" disabled={!dirty} loading={look.isPending}>See what changes</Button>
        </Group>
      </Stack>
    </form>
  );
}
