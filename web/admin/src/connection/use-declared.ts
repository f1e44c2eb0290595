import { useState } from "react";
import { fieldErrors } from "~/api/problem";
import { declare, problemsOf, read, type Field, type Value, type Values } from "./declared";
import type { Declared } from "./sql";

/** State of the form of a connection whose kind has a table of fields. */
export function useDeclared(start: { fields: readonly Field[]; declared?: Declared; set?: readonly string[] }) {
  const [form, setForm] = useState(() => begin(start.fields, start.declared));
  const [errors, setErrors] = useState<Record<string, string>>({});
  const { fields, before, values } = form;
  return {
    fields, values, errors,
    dirty: JSON.stringify(declare(fields, values, before)) !== form.first,
    change(path: string, value: Value) {
      setForm((old) => ({ ...old, values: { ...old.values, [path]: value } }));
      setErrors((old) => Object.fromEntries(Object.entries(old).filter(([at]) => at !== path)));
    },
    /** Begins anew, such as with what a document proposes. */
    reset(next: readonly Field[], declared?: Declared) {
      setForm(begin(next, declared));
      setErrors({});
    },
    validate(): boolean {
      const found = problemsOf(fields, values, start.set);
      setErrors(found);
      return Object.keys(found).length === 0;
    },
    declared: () => declare(fields, values, before),
    /** Puts what the platform says beside the fields; true when something was put there. */
    show(error: unknown): boolean {
      // Some operations name a place from the connection on, others from the request on.
      const paths = fields.map((f) => f.path);
      const found = fieldErrors(error, [...paths, ...paths.map((p) => `connection.${p}`)]).fields;
      const own = Object.fromEntries(Object.entries(found).map(([path, text]) => [path.replace(/^connection\./, ""), text]));
      if (Object.keys(own).length > 0) setErrors(own);
      return Object.keys(own).length > 0;
    },
  };
}

export type DeclaredForm = ReturnType<typeof useDeclared>;

function begin(fields: readonly Field[], before: Declared = {}): { fields: readonly Field[]; before: Declared; values: Values; first: string } {
  const values = read(fields, before);
  return { fields, before, values, first: JSON.stringify(declare(fields, values, before)) };
}
