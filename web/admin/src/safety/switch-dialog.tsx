import { Button, Code, Group, Modal, Radio, Stack, Switch, Text, Textarea, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { z } from "zod";
import type { Schemas } from "~/api/client";
import { showProblem, zodValidate } from "~/lib/form";
import { ErrorState } from "~/ui/states";

const lengths = { "15": "15 minutes", "60": "1 hour", lifted: "Until somebody lifts it", time: "Until a time" } as const;

const schema = z.object({
  reason: z.string().trim().min(3, "Say why, in at least 3 characters").max(500, "At most 500 characters"),
  long: z.enum(["15", "60", "lifted", "time"]),
  until: z.string(),
  cancel: z.boolean(),
}).refine((v) => v.long !== "time" || Date.parse(v.until) > Date.now(), { path: ["until"], message: "Choose a time that is still to come" });
type Values = z.infer<typeof schema>;

interface Props {
  opened: boolean;
  onClose: () => void;
  title: string;
  /** What is chosen, or said, above the reason. */
  children?: ReactNode;
  action?: string;
  /** What must be typed first. */
  typed?: string;
  /** Something above the reason is missing. */
  incomplete?: boolean;
  onSwitch: (put: Schemas["SwitchPut"]) => Promise<unknown>;
}

/** Why, for how long, and whether what runs is stopped too: what every kill switch asks. */
export function SwitchDialog(props: Props) {
  return (
    <Modal opened={props.opened} onClose={props.onClose} title={props.title} size="lg">
      {/* Unmounted with the dialog, so that it opens empty again. */}
      <Form {...props} />
    </Modal>
  );
}

function Form({ onClose, children, action = "Switch off", typed, incomplete, onSwitch }: Props) {
  const form = useForm<Values & { typed: string }>({
    initialValues: { reason: "", long: "lifted", until: "", cancel: false, typed: "" },
    validate: (values) => ({ ...zodValidate(schema)(values), ...(typed && values.typed.trim() !== typed && { typed: `Type ${typed}` }) }),
  });
  const act = useMutation({
    mutationFn: (v: Values) => onSwitch({ reason: v.reason.trim(), cancel_running: v.cancel, ...endOf(v) }),
    onSuccess: onClose,
    onError: (error) => showProblem(form, error, ["reason"]),
  });
  return (
    <form noValidate onSubmit={form.onSubmit((values) => { if (!incomplete) act.mutate(values); })}>
      <Stack gap="md">
        {children}
        <Textarea data-autofocus label="Reason" description="Stands in the audit and beside the switch. Callers are told that it is off and by which role, and not more." required autosize minRows={2} maxLength={500} {...form.getInputProps("reason")} />
        <Radio.Group label="For how long" {...form.getInputProps("long")}>
          <Group gap="md" mt={6}>
            {Object.entries(lengths).map(([value, label]) => <Radio key={value} value={value} label={label} />)}
          </Group>
        </Radio.Group>
        {form.values.long === "time" && <TextInput type="datetime-local" label="Until" description="In your time zone" w={240} {...form.getInputProps("until")} />}
        <Switch label="Also cancel calls that run now" description="Without it they may end; what has taken effect by then stays." {...form.getInputProps("cancel", { type: "checkbox" })} />
        {typed && <TextInput autoComplete="off" spellCheck={false} label={<>Type <Code>{typed}</Code> to confirm</>} {...form.getInputProps("typed")} />}
        {act.isError && <ErrorState error={act.error} title="It was not switched off" />}
        <Group justify="space-between" gap="xs">
          <Text size="xs" c="dimmed">The next call is refused within a second.</Text>
          <Group gap="xs">
            <Button variant="default" onClick={onClose}>Cancel</Button>
            <Button type="submit" color="red" loading={act.isPending} disabled={incomplete || (typed !== undefined && form.values.typed.trim() !== typed)}>{action}</Button>
          </Group>
        </Group>
      </Stack>
    </form>
  );
}

function endOf({ long, until }: Values): { expires_at?: string } {
  if (long === "lifted") return {};
  return { expires_at: new Date(long === "time" ? until : Date.now() + Number(long) * 60_000).toISOString() };
}
