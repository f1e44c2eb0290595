import { z } from "zod/mini";

/**
 * Pieces of a route's `validateSearch`. What stands in a URL may have been typed or be old,
 * so a value that does not fit is dropped instead of failing the page.
 */
export const filters = {
  text: lenient(z.pipe(z.coerce.string().check(z.trim(), z.maxLength(300)), z.transform((text) => (text === "" ? undefined : text)))),
  choice: <const T extends [string, ...string[]]>(values: T) => lenient(z.enum(values)),
  flag: lenient(z.boolean()),
  time: lenient(z.iso.datetime({ offset: true })),
  /** A number from 1, of a revision or a page. */
  number: lenient(z.coerce.number().check(z.int(), z.minimum(1))),
};

/** The `validateSearch` of a route, of the pieces above. */
export const search = z.object;

function lenient<T extends z.ZodMiniType>(schema: T) {
  return z.catch(z.optional(schema), undefined as never);
}

/** The search of a URL without its empty filters, so that an unfiltered page has a bare address. */
export function withFilter<S extends object>(current: S, patch: Partial<S>): S {
  return Object.fromEntries(Object.entries({ ...current, ...patch }).filter(([, v]) => v !== undefined && v !== "" && v !== null)) as S;
}

export const isFiltered = (current: object): boolean => Object.values(current).some((v) => v !== undefined && v !== "");
