import { ActionIcon, Alert, Button, Group, Text, Tooltip } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { IconCheck, IconCopy, IconEyeExclamation } from "@tabler/icons-react";
import type { ReactNode } from "react";
import classes from "./copy.module.css";

export function CopyButton({ value, label = "Copy" }: { value: string; label?: string }) {
  const clipboard = useClipboard({ timeout: 1500 });
  return (
    <Tooltip label={clipboard.copied ? "Copied" : label}>
      <ActionIcon aria-label={clipboard.copied ? "Copied" : label} onClick={() => clipboard.copy(value)} color={clipboard.copied ? "green" : "gray"}>
        {clipboard.copied ? <IconCheck size={15} aria-hidden /> : <IconCopy size={15} aria-hidden />}
      </ActionIcon>
    </Tooltip>
  );
}

/** A value in one line, to be copied: a URL, a command. */
export function CopyField({ value, label }: { value: string; label: string }) {
  return (
    <div className={classes.field} role="group" aria-label={label}>
      <code className={classes.value} tabIndex={0}>{value}</code>
      <CopyButton value={value} label={`Copy: ${label}`} />
    </div>
  );
}

/** A secret the platform shows this one time. */
export function SecretOnce({ value, label, children }: { value: string; label: string; children?: ReactNode }) {
  const clipboard = useClipboard({ timeout: 3000 });
  return (
    <Alert color="amber" icon={<IconEyeExclamation aria-hidden />} title="Copy it now; it is not shown again">
      {children && <Text size="sm" mb="xs">{children}</Text>}
      <div className={classes.field} role="group" aria-label={label}>
        <code className={classes.value} tabIndex={0} data-testid="secret">{value}</code>
      </div>
      <Group mt="sm">
        <Button size="sm" leftSection={clipboard.copied ? <IconCheck size={15} aria-hidden /> : <IconCopy size={15} aria-hidden />} onClick={() => clipboard.copy(value)}>
          {clipboard.copied ? "Copied" : `Copy ${label}`}
        </Button>
      </Group>
    </Alert>
  );
}
