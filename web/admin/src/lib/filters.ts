import { z } from "zod";

/**
 * Pieces of a route's `validateSearch`. What stands in a URL may have been typed or be old,
 * so a value that does not fit is dropped instead of failing the page.
 */
export const filters = {
  text: z.coerce.string().trim().max(300).transform(orNothing).optional().catch(undefined),
  choice: <const T extends [string, ...string[]]>(values: T) => z.enum(values).optional().catch(undefined),
  flag: z.boolean().optional().catch(undefined),
  time: z.iso.datetime({ offset: true }).optional().catch(undefined),
};

function orNothing(text: string) {
  return text === "" ? undefined : text;
}

/** The search of a URL without its empty filters, so that an unfiltered page has a bare address. */
export function withFilter<S extends object>(search: S, patch: Partial<S>): S {
  return Object.fromEntries(Object.entries({ ...search, ...patch }).filter(([, v]) => v !== undefined && v !== "" && v !== null)) as S;
}

export const isFiltered = (search: object): boolean => Object.values(search).some((v) => v !== undefined && v !== "");
