import { Group, Progress, Text, Title } from "@mantine/core";
import { IconCheck } from "@tabler/icons-react";
import { useCan } from "~/api/me";
import { ButtonLink } from "~/ui/link";
import type { Step } from "./setup";
import classes from "./overview.module.css";

/** The way to the first call, until it has been gone. */
export function SetupList({ steps }: { steps: Step[] }) {
  const done = steps.filter((s) => s.done).length;
  const next = steps.find((s) => !s.done);
  return (
    <section className={classes.setup} aria-labelledby="setup">
      <Group justify="space-between" mb="xs">
        <Title order={2} id="setup">Set up</Title>
        <Text size="sm" c="dimmed" className="num">{done} of {steps.length}</Text>
      </Group>
      <Progress value={(done / steps.length) * 100} size={4} mb="md" aria-label={`${done} of ${steps.length} steps done`} />
      <ol className={classes.steps}>
        {steps.map((s) => (
          <li key={s.key} className={classes.step} data-done={s.done || undefined} aria-current={s === next ? "step" : undefined}>
            <span className={classes.tick}>{s.done && <IconCheck size={13} aria-label="Done" />}</span>
            <div>
              <div className={classes.stepTitle}>{s.title}</div>
              {!s.done && <Text size="xs" c="dimmed">{s.says}</Text>}
              {s === next && <StepAction step={s} />}
            </div>
          </li>
        ))}
      </ol>
    </section>
  );
}

function StepAction({ step }: { step: Step }) {
  const can = useCan();
  if (step.key === "server" && can("servers:write")) return <ButtonLink mt={8} size="compact-sm" to="/add-server">Add a server</ButtonLink>;
  if (step.key === "role" && can("roles:write")) return <ButtonLink mt={8} size="compact-sm" to="/access">Open scopes</ButtonLink>;
  if (step.key === "people" && can("members:write")) return <ButtonLink mt={8} size="compact-sm" to="/people">Invite people</ButtonLink>;
  return null;
}
