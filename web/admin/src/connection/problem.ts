import type { UseFormReturnType } from "@mantine/form";
import { fieldErrors } from "~/api/problem";
import { places, type SQLConnection } from "./sql";

/** Puts what the platform says about a connection beside the fields; true when something was put there. */
export function showConnectionProblem(form: Pick<UseFormReturnType<SQLConnection>, "setErrors">, error: unknown): boolean {
  // Some operations name a place from the connection on, others from the request on.
  const all = Object.entries(places).flatMap(([field, place]) => [[place, field], [`connection.${place}`, field]] as const);
  const { fields } = fieldErrors(error, all.map(([place]) => place));
  const errors = Object.fromEntries(all.filter(([place]) => fields[place]).map(([place, field]) => [field, fields[place]]));
  if (Object.keys(errors).length === 0) return false;
  form.setErrors(errors);
  return true;
}
