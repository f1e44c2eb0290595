import type { UseFormReturnType } from "@mantine/form";
import type { z } from "zod";
import { fieldErrors } from "~/api/problem";

/** `validate` of a Mantine form from a zod schema; the first message of a field counts. */
export function zodValidate<T>(schema: z.ZodType<unknown, T>) {
  return (values: T): Record<string, string> => {
    const result = schema.safeParse(values);
    if (result.success) return {};
    const errors: Record<string, string> = {};
    for (const issue of result.error.issues) errors[issue.path.join(".")] ??= issue.message;
    return errors;
  };
}

/** Puts what the platform said about fields beside them, and gives back what fits none. */
export function showProblem<T extends Record<string, unknown>>(form: Pick<UseFormReturnType<T>, "setErrors">, error: unknown, fields: readonly string[]): string[] {
  const found = fieldErrors(error, fields);
  if (Object.keys(found.fields).length > 0) form.setErrors(found.fields);
  return found.rest;
}

/** What slugs look like everywhere on the platform. */
export const slugPattern = /^[a-z][a-z0-9-]{0,38}[a-z0-9]$/;
export const slugRule = "2 to 40 small letters, digits and dashes, beginning with a letter";

/** A slug from a title, as a suggestion. */
export function slugFrom(title: string): string {
  return title.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^[^a-z]+/, "").slice(0, 40).replace(/-+$/, "");
}
