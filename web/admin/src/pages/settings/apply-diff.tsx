import { IconCloudUpload, IconPencil, IconPlus, IconTrash, type Icon } from "@tabler/icons-react";
import { fieldName } from "~/lib/diff";
import type { Change } from "./apply";
import classes from "./settings.module.css";

const icons: Record<Change["verb"], Icon | undefined> = { created: IconPlus, updated: IconPencil, published: IconCloudUpload, deleted: IconTrash, unchanged: undefined };

/** What applying a file does, thing by thing. */
export function ApplyDiff({ changes }: { changes: readonly Change[] }) {
  return (
    <ul className={classes.changes} aria-label="Changes">
      {changes.map((c) => {
        const Icon = icons[c.verb];
        return (
          <li key={`${c.verb} ${c.what} ${c.name}`} data-verb={c.verb}>
            <div className={classes.head}>
              {Icon && <Icon size={15} aria-hidden />}
              <span><b>{c.what}</b> <span className="mono">{c.name}</span> <span className={classes.dim}>{c.verb}{c.note && `, ${c.note}`}</span></span>
            </div>
            {(c.fields ?? []).length > 0 && (
              <dl className={classes.fields}>
                {c.fields!.map((f) => (
                  <div key={f.field}>
                    <dt>{fieldName(f.field)}</dt>
                    <dd>{f.before !== undefined && <del>{f.before || "empty"}</del>} {f.after !== undefined && <ins>{f.after || "empty"}</ins>}</dd>
                  </div>
                ))}
              </dl>
            )}
          </li>
        );
      })}
    </ul>
  );
}
