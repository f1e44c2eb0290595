import { Badge } from "@mantine/core";
import { IconPencil, IconPlus, IconTrash } from "@tabler/icons-react";
import type { Schemas } from "~/api/client";
import { fieldName } from "~/lib/diff";
import { Seen } from "~/ui/hidden-marks";
import classes from "./offer-changes.module.css";

type Change = Schemas["DiffChange"];

const icons = { added: IconPlus, removed: IconTrash, changed: IconPencil } as const;
const order = { changed: 0, removed: 1, added: 2 } as const;
const nouns: Record<Change["what"], string> = { tool: "Tool", resource: "Resource", prompt: "Prompt", instructions: "Instructions", spec: "Spec" };
const says = { added: "new, offered to nobody yet", removed: "gone from the upstream", changed: "says something else now" } as const;

/** What an upstream changed, thing by thing in its own words: what was agreed to beside what it says now. */
export function OfferChanges({ changes, breaking }: { changes: readonly Change[]; breaking: readonly Schemas["BreakingChange"][] }) {
  const breaks = new Set(breaking.map((b) => b.tool));
  return (
    <ul className={classes.changes} aria-label="What the upstream changed">
      {changes.toSorted((a, b) => order[a.verb] - order[b.verb]).map((c) => {
        const Icon = icons[c.verb];
        return (
          <li key={`${c.verb} ${c.what} ${c.name}`} className={classes.change} data-verb={c.verb}>
            <div className={classes.head}>
              <Icon size={15} aria-hidden />
              <span><b>{nouns[c.what]}</b> {c.name !== c.what && <span className="mono"><Seen text={c.name} /></span>} <span className={classes.dim}>{says[c.verb]}</span></span>
              {breaks.has(c.name) && <Badge color="red">Breaks callers</Badge>}
            </div>
            <Fields change={c} />
          </li>
        );
      })}
    </ul>
  );
}

/** Of what changed, all that did; of what is new or gone its words, and the rest of its definition where one asks for it. */
function Fields({ change }: { change: Change }) {
  const { verb } = change;
  const fields = change.fields ?? [];
  const told = verb === "changed" ? fields : fields.filter((f) => f.field === "title" || f.field === "description");
  const rest = fields.filter((f) => !told.includes(f));
  return (
    <>
      {told.map((f) => <Field key={f.field} verb={verb} field={f} />)}
      {rest.length > 0 && (
        <details className={classes.rest}>
          <summary>The rest of its definition</summary>
          {rest.map((f) => <Field key={f.field} verb={verb} field={f} />)}
        </details>
      )}
    </>
  );
}

/** Names of MCP as this console writes them. */
const nameOf = (field: string) => fieldName(field.replace(/^inputSchema/, "input_schema").replace(/^outputSchema/, "output_schema").replace(/^annotations\//, "says of itself: "));

function Field({ verb, field: f }: { verb: Change["verb"]; field: Schemas["FieldChange"] }) {
  return (
    <div className={classes.field} role="group" aria-label={nameOf(f.field)}>
      <div className={classes.name}>{nameOf(f.field)}</div>
      <div className={classes.sides}>
        {verb !== "added" && <Side label="Agreed to" text={f.before} kind="before" />}
        {verb !== "removed" && <Side label="Now" text={f.after} kind="after" />}
      </div>
    </div>
  );
}

function Side({ label, text, kind }: { label: string; text: string | undefined; kind: "before" | "after" }) {
  return (
    <div className={classes.side} data-kind={kind}>
      <div className={classes.label}>{label}</div>
      <div className={classes.text}>{text ? <Seen text={text} /> : <span className={classes.dim}>{text === "" ? "empty" : "nothing"}</span>}</div>
    </div>
  );
}
