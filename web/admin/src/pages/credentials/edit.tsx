import { Button, Checkbox, Group, PasswordInput, SegmentedControl, Select, Stack, TagsInput, Text, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, tagged, type Schemas, type Tagged } from "~/api/client";
import { fieldErrors, isStale } from "~/api/problem";
import { StaleAlert } from "~/ui/stale";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";
import { assemble, check, fieldsOf, valuesOf, type Declared, type Field, type Values } from "./declared";

interface Props {
  read: Tagged<Schemas["Connection"]>;
  onDone: () => void;
  onReload: () => void;
}

/** Changes a connection as a form or as text. Vault tries it before anything is replaced; secrets go in and never come out. */
export function ConnectionEdit({ read, onDone, onReload }: Props) {
  const client = useQueryClient();
  const c = read.data;
  const declared = (c.connection ?? {}) as Declared;
  const all = fieldsOf(c.kind, declared, c.secrets_set);
  const secrets = all.filter((f) => f.kind === "secret");
  const [as, setAs] = useState("form");
  const [values, setValues] = useState<Values>(() => valuesOf(all, declared));
  const [text, setText] = useState(() => JSON.stringify(declared, null, 2));
  const [errors, setErrors] = useState<Record<string, string>>({});
  const fields = as === "form" ? all : secrets;
  const set = (path: string, value: Values[string]) => {
    setValues({ ...values, [path]: value });
    setErrors({ ...errors, [path]: "" });
  };

  const save = useMutation({
    mutationFn: (connection: Declared) => tagged(api.PUT("/tenants/{tenant}/servers/{server}/connection", { params: { path: at({ server: c.server }), header: { "If-Match": read.etag } }, body: { connection } })),
    onSuccess: async () => {
      toast.done("Vault logged in; the connection is in use from the next call on.", "It works");
      onDone();
      await client.invalidateQueries({ predicate: ({ queryKey }) => ["connections", "servers"].includes(String(queryKey[0])) });
    },
    onError: (error) => {
      const paths = fields.map((f) => `connection.${f.path}`);
      const found = fieldErrors(error, paths).fields;
      setErrors(Object.fromEntries(Object.entries(found).map(([path, words]) => [path.replace(/^connection\./, ""), words])));
    },
  });
  const submit = () => {
    const wrong = check(fields, values);
    let base = declared;
    if (as === "json") {
      const parsed = parse(text);
      if (!parsed) wrong.json = "This is no JSON object";
      else base = parsed;
    }
    setErrors(wrong);
    if (Object.keys(wrong).length === 0) save.mutate(assemble(base, fields, values));
  };
  return (
    <form onSubmit={(e) => { e.preventDefault(); submit(); }} noValidate>
      <Stack gap="md">
        <SegmentedControl aria-label="Edit as" value={as} onChange={setAs} data={[{ value: "form", label: "Form" }, { value: "json", label: "JSON" }]} w="fit-content" />
        {as === "json" && (
          <Textarea label="Connection" description="As in a tenant file, without its secrets: they go below" autosize minRows={8} maxRows={24} spellCheck={false} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
            value={text} error={errors.json} onChange={(e) => { setText(e.currentTarget.value); setErrors({ ...errors, json: "" }); }} />
        )}
        {fields.map((f) => <FieldInput key={f.path} field={f} value={values[f.path]} error={errors[f.path]} set={c.secrets_set.includes(f.path)} onChange={(v) => set(f.path, v)} />)}
        {isStale(save.error) ? <StaleAlert what="The connection" onReload={onReload} /> : save.isError && <ErrorState error={save.error} title="The connection stays as it was" />}
        <Text size="sm" c="dimmed">Vault logs in with it first. If that fails nothing is changed, and calls go on with what was there.</Text>
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onDone}>Cancel</Button>
          <Button type="submit" loading={save.isPending}>Try and save</Button>
        </Group>
      </Stack>
    </form>
  );
}

function FieldInput({ field: f, value, error, set, onChange }: { field: Field; value: Values[string] | undefined; error?: string; set: boolean; onChange: (value: Values[string]) => void }) {
  const common = { label: f.label, description: f.says, error: error || undefined };
  switch (f.kind) {
    case "secret":
      return <PasswordInput {...common} description={set ? "Set. It cannot be shown; what you write replaces it" : "Not set yet"} autoComplete="new-password" value={String(value ?? "")} onChange={(e) => onChange(e.currentTarget.value)} visibilityToggleButtonProps={{ "aria-label": `Show what is written: ${f.label}` }} />;
    case "choice":
      return <Select {...common} data={f.options} placeholder={f.options?.[0]?.label} clearable clearButtonProps={{ "aria-label": `Clear: ${f.label}` }} value={value === "" ? null : String(value)} onChange={(v) => onChange(v ?? "")} />;
    case "list":
      return <TagsInput {...common} value={(value ?? []) as string[]} onChange={onChange} splitChars={[",", " "]} />;
    case "flag":
      return <Checkbox {...common} checked={value === true} onChange={(e) => onChange(e.currentTarget.checked)} />;
    case "number":
      return <TextInput {...common} inputMode="numeric" w={180} value={String(value ?? "")} onChange={(e) => onChange(e.currentTarget.value.trim())} />;
    default:
      return <TextInput {...common} autoComplete="off" spellCheck={false} value={String(value ?? "")} onChange={(e) => onChange(e.currentTarget.value)} />;
  }
}

function parse(text: string): Declared | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? (value as Declared) : undefined;
  } catch {
    return undefined;
  }
}
