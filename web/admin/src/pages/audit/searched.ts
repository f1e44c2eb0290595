import type { CursorPage } from "~/ui/paged-table";
import type { AuditEvent } from "./tail";

/** How many parts without a single record are searched before the person is asked to go on. */
export const patience = 20;

/** What the pages so far have brought. A search that takes long answers with fewer records, or none, and goes on from there. */
export function searched(pages: readonly (CursorPage<AuditEvent> & { searched_to?: string })[]) {
  const seen = new Set<string>();
  const rows = pages.flatMap((page) => page.data).filter((e) => !seen.has(e.id) && seen.add(e.id));
  let emptyRun = 0;
  for (let i = pages.length - 1; i >= 0 && pages[i]!.data.length === 0; i--) emptyRun++;
  return { rows, emptyRun, pages: pages.length, back: pages.at(-1)?.searched_to ?? rows.at(-1)?.at };
}
