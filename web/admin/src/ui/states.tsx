import { Alert, Button, Code, Group, Skeleton, Stack, Text, ThemeIcon, Title, VisuallyHidden } from "@mantine/core";
import { IconAlertTriangle, IconInbox, IconLock, IconRefresh, type Icon } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { explain, isDenied, ProblemError } from "~/api/problem";
import { CopyButton } from "./copy";
import classes from "./states.module.css";

interface EmptyProps {
  title: string;
  children?: ReactNode;
  action?: ReactNode;
  icon?: Icon;
  /** Inside a card or a table rather than in place of a page. */
  compact?: boolean;
}

/** Nothing here yet, or nothing that matches: says which, and what to do about it. */
export function EmptyState({ title, children, action, icon: Icon = IconInbox, compact }: EmptyProps) {
  return (
    <div className={classes.state} data-compact={compact || undefined}>
      <ThemeIcon variant="light" color="gray" size={compact ? 36 : 44} radius="xl" aria-hidden>
        <Icon size={compact ? 18 : 22} stroke={1.5} />
      </ThemeIcon>
      <Title order={2} mt="sm">{title}</Title>
      {children && <Text c="dimmed" size="sm" maw={460} mt={4}>{children}</Text>}
      {action && <Group mt="md" gap="xs" justify="center">{action}</Group>}
    </div>
  );
}

export function DeniedState({ permission, children }: { permission: string; children?: ReactNode }) {
  return (
    <div className={classes.state}>
      <ThemeIcon variant="light" color="amber" size={44} radius="xl" aria-hidden>
        <IconLock size={22} stroke={1.5} />
      </ThemeIcon>
      <Title order={2} mt="sm">Your roles do not open this</Title>
      <Text c="dimmed" size="sm" maw={460} mt={4}>
        It needs the permission <Code>{permission}</Code>. {children}
      </Text>
    </div>
  );
}

interface ErrorProps {
  error: unknown;
  onRetry?: () => void;
  /** In place of "The platform refused this". */
  title?: string;
}

/** What went wrong, for the person; and what an administrator needs to find it. */
export function ErrorState({ error, onRetry, title }: ErrorProps) {
  const { title: what, detail, requestId } = explain(error);
  const code = error instanceof ProblemError ? error.code : "";
  return (
    <Alert color={isDenied(error) ? "amber" : "red"} icon={<IconAlertTriangle aria-hidden />} title={title ?? what} role="alert">
      {detail && <Text size="sm">{detail}</Text>}
      <Problems error={error} />
      <Group gap="md" mt="sm">
        {onRetry && <Button variant="default" size="sm" leftSection={<IconRefresh size={15} aria-hidden />} onClick={onRetry}>Try again</Button>}
        {code && <Text size="xs" c="dimmed">Code <span className="mono">{code}</span></Text>}
        {requestId && (
          <Group gap={2}>
            <Text size="xs" c="dimmed">Request <span className="mono">{requestId}</span></Text>
            <CopyButton value={requestId} label="Copy the request id" />
          </Group>
        )}
      </Group>
    </Alert>
  );
}

function Problems({ error }: { error: unknown }) {
  const errors = error instanceof ProblemError ? (error.problem.errors ?? []) : [];
  if (errors.length === 0) return null;
  return (
    <ul className={classes.problems}>
      {errors.map((e) => (
        <li key={`${e.pointer} ${e.line} ${e.detail}`}>
          {e.pointer && <span className="mono">{e.pointer} </span>}
          {e.detail}
          {e.fix && <Text span c="dimmed" size="sm"> {e.fix}</Text>}
        </li>
      ))}
    </ul>
  );
}

/** Grey lines in the shape of what will come. */
export function LoadingState({ rows = 6, label = "Loading" }: { rows?: number; label?: string }) {
  return (
    <Stack gap="sm" role="status">
      <VisuallyHidden>{label}</VisuallyHidden>
      {Array.from({ length: rows }, (_, i) => <Skeleton key={i} h={i === 0 ? 22 : 34} w={i === 0 ? "30%" : "100%"} />)}
    </Stack>
  );
}

interface QueryLike<T> {
  data: T | undefined;
  isPending: boolean;
  isError: boolean;
  error: unknown;
  refetch: () => unknown;
}

/** Loading, failed, or the data: the three states of anything that is read. */
export function Loaded<T>({ query, rows, children }: { query: QueryLike<T>; rows?: number; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return children(query.data);
  if (query.isError) return <ErrorState error={query.error} onRetry={() => void query.refetch()} />;
  return <LoadingState rows={rows} />;
}
