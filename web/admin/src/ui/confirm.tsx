import { Button, Code, Group, Modal, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useId, useState, type ReactNode } from "react";
import type { Schemas } from "~/api/client";
import { Effects } from "./effects";
import { ErrorState, LoadingState } from "./states";

interface Props {
  opened: boolean;
  onClose: () => void;
  title: string;
  /** What will happen, in words. */
  children?: ReactNode;
  /** A verb: "Delete the server". */
  action: string;
  danger?: boolean;
  size?: "md" | "lg";
  /** What must be typed first, for what cannot be undone. */
  typed?: string;
  /** Asks the API for a dry run when the dialog opens, and shows what would go. */
  dryRun?: { key: readonly unknown[]; read: () => Promise<Schemas["Deletion"]> };
  onConfirm: () => Promise<unknown>;
}

/** Asks before something that matters is done, and stays open with the problem if it fails. */
export function ConfirmDialog(props: Props) {
  return (
    <Modal opened={props.opened} onClose={props.onClose} title={props.title} size={props.size}>
      {/* Unmounted with the dialog, so that what was typed is gone when it opens again. */}
      <Question {...props} />
    </Modal>
  );
}

function Question({ opened, onClose, children, action, danger, typed, dryRun, onConfirm }: Props) {
  const [text, setText] = useState("");
  const form = useId();
  const act = useMutation({ mutationFn: onConfirm, onSuccess: onClose });
  const preview = useQuery({
    queryKey: ["dry-run", ...(dryRun?.key ?? [])],
    queryFn: () => dryRun!.read(),
    // Once it is being done there is nothing to try any more, also when everything is read again.
    enabled: opened && dryRun !== undefined && act.isIdle,
    gcTime: 0,
    staleTime: 0,
  });
  const ready = (!typed || text.trim() === typed) && (!dryRun || preview.isSuccess);
  return (
    <form id={form} onSubmit={(e) => { e.preventDefault(); if (ready && !act.isPending) act.mutate(); }}>
      <Stack gap="md">
        {children && <Text component="div" size="sm">{children}</Text>}
        {dryRun && (preview.isError ? <ErrorState error={preview.error} onRetry={() => void preview.refetch()} /> : preview.isPending ? <LoadingState rows={2} label="Finding out what will happen" /> : <Effects effects={preview.data.effects} />)}
        {typed && (
          <TextInput data-autofocus autoComplete="off" spellCheck={false} label={<>Type <Code>{typed}</Code> to confirm</>} value={text} onChange={(e) => setText(e.currentTarget.value)} />
        )}
        {act.isError && <ErrorState error={act.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" color={danger ? "red" : undefined} loading={act.isPending} disabled={!ready} data-autofocus={typed ? undefined : true}>{action}</Button>
        </Group>
      </Stack>
    </form>
  );
}
