import { Group, Stack, Text } from "@mantine/core";
import { IconPencil, IconPlus, IconTrash } from "@tabler/icons-react";
import type { Schemas } from "~/api/client";
import { diffLines, fieldName, fold } from "~/lib/diff";
import { BreakingList, changeClasses, ClassBadge } from "./change-class";
import { RiskMark, type Risk } from "./risk";
import classes from "./diff.module.css";

type Diff = Schemas["Diff"];
type Change = Schemas["DiffChange"];

const verbs = { added: IconPlus, removed: IconTrash, changed: IconPencil } as const;
const nouns: Record<Change["what"], string> = { tool: "Tool", resource: "Resource", prompt: "Prompt", instructions: "Instructions", spec: "Spec" };
const order = { removed: 0, changed: 1, added: 2 } as const;

/** How one revision differs from another: what it is to those who use it, then thing by thing what goes, what changes, what is new. */
export function DiffView({ diff }: { diff: Diff }) {
  if (diff.same || diff.changes.length === 0) return <Text size="sm" c="dimmed">Nothing differs.</Text>;
  const changes = diff.changes.toSorted((a, b) => order[a.verb] - order[b.verb]);
  return (
    <Stack gap="sm">
      {diff.class && <Group gap="xs"><ClassBadge of={diff.class} /><Text size="xs" c="dimmed">{changeClasses[diff.class].says}</Text></Group>}
      <BreakingList breaking={diff.breaking ?? []} />
      <ul className={classes.changes} aria-label="Changes">
        {changes.map((change) => <ChangeItem key={`${change.verb} ${change.what} ${change.name}`} change={change} />)}
      </ul>
    </Stack>
  );
}

function ChangeItem({ change }: { change: Change }) {
  const Icon = verbs[change.verb];
  return (
    <li className={classes.change} data-verb={change.verb}>
      <div className={classes.head}>
        <Icon size={15} aria-hidden />
        <span>
          <b>{nouns[change.what]}</b> {change.name !== change.what && <span className="mono">{change.name}</span>} <span className={classes.verb}>{change.verb}</span>
        </span>
      </div>
      {(change.fields ?? []).length > 0 && (
        <dl className={classes.fields}>
          {change.fields!.map((f) => (
            <div key={f.field}>
              <dt>{fieldName(f.field)}</dt>
              <dd><FieldDiff field={f.field} before={f.before} after={f.after} /></dd>
            </div>
          ))}
        </dl>
      )}
    </li>
  );
}

const isRisk = (value: string | undefined): value is Risk => value === "read" || value === "write" || value === "destructive";

function FieldDiff({ field, before, after }: { field: string; before?: string; after?: string }) {
  if (field === "risk") {
    return (
      <span className={classes.pair}>
        {isRisk(before) && <del><RiskMark risk={before} /></del>}
        {isRisk(before) && isRisk(after) && <Arrow />}
        {isRisk(after) && <ins><RiskMark risk={after} /></ins>}
      </span>
    );
  }
  if ([before, after].some((text) => text?.includes("\n"))) return <TextDiff before={before ?? ""} after={after ?? ""} />;
  return (
    <span className={classes.pair}>
      {before !== undefined && <del className={classes.gone}>{before || "empty"}</del>}
      {before !== undefined && after !== undefined && <Arrow />}
      {after !== undefined && <ins className={classes.here}>{after || "empty"}</ins>}
    </span>
  );
}

const Arrow = () => <span className={classes.arrow} aria-hidden>→</span>;

const marks = { same: " ", added: "+", removed: "−" } as const;

/** Two texts line by line, with what did not change folded away. */
export function TextDiff({ before, after, label = "Difference" }: { before: string; after: string; label?: string }) {
  return (
    <div className={classes.text} tabIndex={0} role="region" aria-label={label}>
      <div className={classes.lines}>
        {fold(diffLines(before, after)).map((line, at) =>
          line.kind === "folded" ? (
            <div key={at} className={classes.folded}>{line.count} unchanged {line.count === 1 ? "line" : "lines"}</div>
          ) : (
            <div key={at} className={classes.line} data-kind={line.kind}>
              <span className={classes.number} aria-hidden>{line.before ?? ""}</span>
              <span className={classes.number} aria-hidden>{line.after ?? ""}</span>
              <span className={classes.mark}>{marks[line.kind]}</span>
              <span>{line.text}</span>
            </div>
          ),
        )}
      </div>
    </div>
  );
}
