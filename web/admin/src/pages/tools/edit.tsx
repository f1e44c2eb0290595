import { Button, Drawer, Group, NumberInput, Radio, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { z } from "zod";
import type { Schemas, Tagged } from "~/api/client";
import { isStale } from "~/api/problem";
import { showProblem, zodValidate } from "~/lib/form";
import { RiskMark, risks, type Risk } from "~/ui/risk";
import { StaleAlert } from "~/ui/stale";
import { ErrorState } from "~/ui/states";
import { changeTool, Changes, useSaved, type Seen } from "./change";

type Tool = Schemas["Tool"];

const Guard = z.object({
  title: z.string().max(200, "At most 200 characters"),
  description: z.string().trim().min(1, "The model needs it").max(4000, "At most 4,000 characters"),
  scope: z.string().regex(/^[a-z][a-z0-9_:.-]{0,63}$/, "Small letters, digits and _ : . - after a letter, at most 64"),
  risk: z.enum(["read", "write", "destructive"]),
  timeout_ms: z.number("Write a number").int().min(1, "At least 1").max(600_000, "At most 600,000, ten minutes"),
});
type Guard = z.infer<typeof Guard>;

interface Props {
  read: Tagged<Tool>;
  opened: boolean;
  onClose: () => void;
  onReload: () => void;
}

/** Edit, see the difference, publish: the platform is asked what would change before anything does. */
export function EditTool({ read, opened, onClose, onReload }: Props) {
  return (
    <Drawer opened={opened} onClose={onClose} title={`Edit ${read.data.name}`} size="lg">
      <Edit key={read.etag} read={read} onClose={onClose} onReload={onReload} />
    </Drawer>
  );
}

function Edit({ read, onClose, onReload }: Omit<Props, "opened">) {
  const client = useQueryClient();
  const t = read.data;
  const form = useForm<Guard>({ initialValues: { title: t.title, description: t.description, scope: t.scope, risk: t.risk, timeout_ms: t.timeout_ms }, validate: zodValidate(Guard) });
  const [seen, setSeen] = useState<Seen>();
  const look = useMutation({
    mutationFn: (change: Partial<Guard>) => changeTool(read, change, { dry_run: true }),
    onSuccess: ({ diff, findings }, change) => setSeen({ change, diff, findings }),
    onError: (error) => showProblem(form, error, Object.keys(Guard.shape)),
  });
  const saved = useSaved(t, client, onClose);
  const problem = isStale(look.error) ? <StaleAlert what={`The server ${t.server}`} onReload={onReload} /> : look.error && <ErrorState error={look.error} />;

  if (seen) {
    return (
      <Changes read={read} seen={seen} onBack={() => setSeen(undefined)} onSaved={saved} onReload={onReload}>
        {seen.change.scope && <Text size="sm" c="dimmed">Apps that were allowed {t.scope} only have to ask again for {seen.change.scope}, and a role has to open it.</Text>}
      </Changes>
    );
  }
  return (
    <form noValidate onSubmit={form.onSubmit((values) => look.mutate(changed(values, t)))}>
      <Stack gap="md">
        <TextInput label="Title" {...form.getInputProps("title")} />
        <Textarea label="Description" description="What the model reads before it decides to call it" autosize minRows={4} {...form.getInputProps("description")} />
        <TextInput label="Scope" description="What a role opens and a person allows" spellCheck={false} autoComplete="off" {...form.getInputProps("scope")} />
        <Radio.Group label="Risk" {...form.getInputProps("risk")}>
          <Stack gap={6} mt={4}>
            {(Object.keys(risks) as Risk[]).map((risk) => <Radio key={risk} value={risk} label={<><RiskMark risk={risk} /> <Text span size="xs" c="dimmed">{risks[risk].says}</Text></>} />)}
          </Stack>
        </Radio.Group>
        <NumberInput label="Timeout" description="Milliseconds" min={1} max={600_000} step={500} w={200} {...form.getInputProps("timeout_ms")} />
        {problem}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" disabled={!form.isDirty()} loading={look.isPending}>See what changes</Button>
        </Group>
      </Stack>
    </form>
  );
}

/** Only what differs is sent, so that a colleague's change of another field survives. */
export function changed(values: Guard, tool: Pick<Tool, keyof Guard>): Partial<Guard> {
  return Object.fromEntries(Object.entries(values).filter(([field, value]) => tool[field as keyof Guard] !== value));
}
