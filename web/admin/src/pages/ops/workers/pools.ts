import type { Schemas } from "~/api/client";

export type Worker = Schemas["Worker"];
export interface Pool {
  name: string;
  workers: Worker[];
  slots: number;
  busy: number;
}

/** Workers by pool, both by name. */
export function pools(workers: readonly Worker[]): Pool[] {
  const all = new Map<string, Pool>();
  for (const w of workers.toSorted((a, b) => a.pool.localeCompare(b.pool) || a.name.localeCompare(b.name))) {
    const pool = all.get(w.pool) ?? { name: w.pool, workers: [], slots: 0, busy: 0 };
    all.set(w.pool, pool);
    pool.workers.push(w);
    pool.slots += w.slots;
    pool.busy += w.busy;
  }
  return [...all.values()];
}

export const versions = (workers: readonly Worker[]): string[] => [...new Set(workers.map((w) => w.version))].toSorted();
