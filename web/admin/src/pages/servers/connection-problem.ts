import type { UseFormReturnType } from "@mantine/form";
import { fieldErrors } from "~/api/problem";
import { formPath, type SQLConnection } from "./sql-connection";

const paths = ["host", "port", "database", "sslmode", "admin.username", "admin.password", "groups.read", "groups.write"];

/** Puts what the platform says about a connection beside the fields; true when something was put there. */
export function showConnectionProblem(form: UseFormReturnType<SQLConnection>, error: unknown): boolean {
  const { fields } = fieldErrors(error, paths.flatMap((path) => [path, `connection.${path}`]));
  const errors = Object.fromEntries(Object.entries(fields).map(([path, words]) => [formPath(path), words]));
  if (Object.keys(errors).length === 0) return false;
  form.setErrors(errors);
  return true;
}
