import { Alert, Button, Group, Modal, Stack, Text, Textarea } from "@mantine/core";
import { IconCheck, IconUserX, IconUsers, IconX } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useMe } from "~/api/me";
import { isStale, ProblemError } from "~/api/problem";
import type { Approval } from "~/api/safety";
import { ErrorState } from "~/ui/states";
import { TimeLeft } from "~/ui/time";
import { toast } from "~/ui/toast";
import { Arguments } from "./arguments";
import { whyNot } from "./words";
import classes from "./approvals.module.css";

type Decision = "approve" | "deny";

/** The two buttons, or why there are none. */
export function Decide({ approval: a }: { approval: Approval }) {
  const [asked, setAsked] = useState<Decision>();
  const why = whyNot(a, useMe());
  if (a.status !== "pending") return null;
  if (why) return <div className={classes.why}><IconUserX size={16} aria-hidden />{why}</div>;
  return (
    <>
      <Button variant="default" leftSection={<IconX size={15} aria-hidden />} onClick={() => setAsked("deny")} aria-label={`Deny: ${a.title || a.tool}, asked by ${a.member}`}>Deny</Button>
      <Button leftSection={<IconCheck size={15} aria-hidden />} onClick={() => setAsked("approve")} aria-label={`Approve: ${a.title || a.tool}, asked by ${a.member}`}>Approve</Button>
      <Modal opened={asked !== undefined} onClose={() => setAsked(undefined)} title={asked === "deny" ? "Deny the call" : "Approve the call"} size="lg">
        {asked && <Question approval={a} decision={asked} onClose={() => setAsked(undefined)} />}
      </Modal>
    </>
  );
}

function Question({ approval: a, decision, onClose }: { approval: Approval; decision: Decision; onClose: () => void }) {
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const [missing, setMissing] = useState(false);
  const refresh = () => client.invalidateQueries({ predicate: ({ queryKey }) => ["approvals", "events"].includes(String(queryKey[0])) });
  const act = useMutation({
    mutationFn: () => body(api.POST("/tenants/{tenant}/approvals/{approval}/decision", { params: { path: at({ approval: a.id }) }, body: { decision, ...(reason.trim() && { reason: reason.trim() }) } })),
    onSuccess: async () => {
      toast.done(decision === "deny" ? `Denied; ${a.member} is told why.` : "Approved; the call may run once.");
      onClose();
      await refresh();
    },
  });
  const decided = isStale(act.error) || (act.error instanceof ProblemError && act.error.status === 409);
  if (decided) {
    return (
      <Alert color="amber" icon={<IconUsers aria-hidden />} title="Somebody was faster" role="alert">
        <Text size="sm">{act.error?.message} Nothing of yours was saved.</Text>
        <Button mt="sm" variant="default" onClick={() => { onClose(); void refresh(); }}>See how it stands</Button>
      </Alert>
    );
  }
  return (
    <form noValidate onSubmit={(e) => { e.preventDefault(); if (decision === "deny" && !reason.trim()) setMissing(true); else act.mutate(); }}>
      <Stack gap="md">
        <Text size="sm">
          {decision === "deny"
            ? <><b>{a.title || a.tool}</b> on {a.server} is refused for {a.member}, and your reason goes back to whoever called.</>
            : <><b>{a.title || a.tool}</b> on {a.server} runs for {a.member} with exactly these arguments, once. It expires with <TimeLeft until={a.expires_at} />.</>}
        </Text>
        <Arguments of={a.arguments} />
        <Textarea
          data-autofocus label="Reason" description="Who asked is told, and it stands in the audit" required={decision === "deny"} autosize minRows={2} maxLength={500} value={reason}
          error={missing && !reason.trim() ? "Say why, so that whoever asked can do better" : undefined} onChange={(e) => setReason(e.currentTarget.value)}
        />
        {act.isError && <ErrorState error={act.error} title="It is not decided" />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" color={decision === "deny" ? "red" : undefined} loading={act.isPending}>{decision === "deny" ? "Deny" : "Approve once"}</Button>
        </Group>
      </Stack>
    </form>
  );
}
