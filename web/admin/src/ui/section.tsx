import { Group, Paper, Text, Title } from "@mantine/core";
import { useId, type ReactNode } from "react";

/** A titled part of a page. */
export function Section({ title, says, actions, children, padded = true }: { title: string; says?: ReactNode; actions?: ReactNode; children: ReactNode; padded?: boolean }) {
  const id = useId();
  return (
    <Paper component="section" aria-labelledby={id} p={padded ? "md" : 0}>
      <Group justify="space-between" gap="xs" mb="sm" px={padded ? 0 : "md"} pt={padded ? 0 : "md"} align="flex-start">
        <div>
          <Title order={2} id={id}>{title}</Title>
          {says && <Text size="sm" c="dimmed" mt={2}>{says}</Text>}
        </div>
        {actions}
      </Group>
      {children}
    </Paper>
  );
}
