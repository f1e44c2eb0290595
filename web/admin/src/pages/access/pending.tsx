import { ActionIcon, Alert, Button, Drawer, Group, Stack, Text, Title } from "@mantine/core";
import { IconAlertTriangle, IconArrowBackUp, IconMinus, IconPlus } from "@tabler/icons-react";
import { count } from "~/lib/words";
import { ErrorState } from "~/ui/states";
import { destructive, headline, type RoleSummary, type ScopeWords } from "./summary";
import classes from "./pending.module.css";

interface BarProps {
  pending: number;
  summaries: RoleSummary[];
  saving: boolean;
  onReview: () => void;
  onDiscard: () => void;
  onSave: () => void;
}

/** Stands below the matrix while something is not saved. */
export function PendingBar({ pending, summaries, saving, onReview, onDiscard, onSave }: BarProps) {
  return (
    <section className={classes.bar} aria-label="Changes that are not saved">
      <div className={classes.words} role="status">
        <b className="num">{count(pending, "change")}</b> <span className={classes.headline}>{headline(summaries)}</span>
      </div>
      <Group gap="xs" wrap="nowrap">
        <Button variant="subtle" color="gray" onClick={onDiscard}>Discard</Button>
        <Button variant="default" onClick={onReview}>Review</Button>
        <Button onClick={onSave} loading={saving}>Save</Button>
      </Group>
    </section>
  );
}

interface ReviewProps {
  opened: boolean;
  onClose: () => void;
  pending: number;
  summaries: RoleSummary[];
  saving: boolean;
  error: unknown;
  onRevert: (cells: ScopeWords[]) => void;
  onSave: () => void;
}

/** Every pending change in words, role by role, each of which can be taken back. */
export function Review({ opened, onClose, pending, summaries, saving, error, onRevert, onSave }: ReviewProps) {
  const grave = destructive(summaries);
  return (
    <Drawer opened={opened} onClose={onClose} title={count(pending, "change")}>
      <Stack gap="lg">
        {grave > 0 && (
          <Alert color="amber" icon={<IconAlertTriangle aria-hidden />}>
            {grave === 1 ? "One of the opened scopes has a tool" : `${grave} of the opened scopes have tools`} whose work cannot be undone. Apps still ask each person before they get it.
          </Alert>
        )}
        {summaries.length === 0 && <Text c="dimmed" size="sm">Nothing differs from what is saved.</Text>}
        {summaries.map((s) => (
          <section key={s.role} aria-label={s.role}>
            <Title order={3} mb={6}>{s.role} <Text span c="dimmed" size="sm" fw={400}>held by {count(s.members, "person", "people")}</Text></Title>
            <ul className={classes.list}>
              {s.opens.map((item) => <Item key={item.cell} item={item} opens onRevert={onRevert} />)}
              {s.closes.map((item) => <Item key={item.cell} item={item} onRevert={onRevert} />)}
            </ul>
          </section>
        ))}
        {error !== null && error !== undefined && <ErrorState error={error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Go on editing</Button>
          <Button onClick={onSave} loading={saving} disabled={pending === 0}>Save all at once</Button>
        </Group>
      </Stack>
    </Drawer>
  );
}

function Item({ item, opens, onRevert }: { item: ScopeWords; opens?: boolean; onRevert: (cells: ScopeWords[]) => void }) {
  const Icon = opens ? IconPlus : IconMinus;
  return (
    <li className={classes.item} data-opens={opens || undefined}>
      <Icon size={14} aria-label={opens ? "opens" : "closes"} />
      <span>{item.words}</span>
      <ActionIcon size={24} onClick={() => onRevert([item])} aria-label={`Take back: ${item.words}`}><IconArrowBackUp size={15} aria-hidden /></ActionIcon>
    </li>
  );
}
