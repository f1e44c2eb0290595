import type { Schemas } from "~/api/client";
import { ProblemError } from "~/api/problem";
import { count } from "~/lib/words";

export type ApplyResult = Schemas["ApplyResult"];
export type Change = Schemas["ApplyChange"];

const order: Record<Change["verb"], number> = { deleted: 0, updated: 1, published: 2, created: 3, unchanged: 4 };

/** What changes first, deletions before all; what stays the same is only counted. */
export function arrange(result: ApplyResult): { changes: Change[]; unchanged: number } {
  const changes = result.changes.filter((c) => c.verb !== "unchanged").toSorted((a, b) => order[a.verb] - order[b.verb]);
  return { changes, unchanged: result.changes.length - changes.length };
}

/** "2 created, 1 deleted". */
export function headline(changes: readonly Change[]): string {
  const verbs = new Map<string, number>();
  for (const c of changes) verbs.set(c.verb, (verbs.get(c.verb) ?? 0) + 1);
  return [...verbs].map(([verb, n]) => `${n} ${verb}`).join(", ");
}

export function unmentionedWords(result: ApplyResult): string {
  const kinds = new Map<string, number>();
  for (const u of result.unmentioned) kinds.set(u.what, (kinds.get(u.what) ?? 0) + 1);
  return [...kinds].map(([what, n]) => count(n, what)).join(", ");
}

/** Problems of a file, each with its line where the platform knows it. */
export function fileProblems(error: unknown): { line?: number; column?: number; text: string; fix?: string }[] {
  if (!(error instanceof ProblemError)) return [];
  return (error.problem.errors ?? []).map((e) => ({ line: e.line, column: e.column, text: [e.pointer, e.detail].filter(Boolean).join(" "), fix: e.fix }));
}
