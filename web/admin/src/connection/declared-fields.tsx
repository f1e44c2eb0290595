import { ActionIcon, Button, Checkbox, Fieldset, Grid, Group, Input, PasswordInput, Select, Stack, TagsInput, TextInput } from "@mantine/core";
import { IconPlus, IconX } from "@tabler/icons-react";
import { pair, shown, type Field, type Pair, type Value, type Values } from "./declared";

interface Props {
  fields: readonly Field[];
  values: Values;
  errors: Record<string, string>;
  /** Secrets that Vault has, by path. */
  set?: readonly string[];
  onChange: (path: string, value: Value) => void;
}

const none: readonly string[] = [];
const legends = { place: "Where it is", login: "How the platform logs in", process: "What the process gets" } as const;

/** The form of a connection, of the fields of its kind. */
export function DeclaredFields({ fields, values, errors, set = none, onChange }: Props) {
  const visible = shown(fields, values);
  return (
    <Stack gap="md" maw={720}>
      {(Object.keys(legends) as (keyof typeof legends)[]).map((group) => {
        const own = visible.filter((f) => f.group === group);
        return own.length > 0 && (
          <Fieldset key={group} legend={legends[group]}>
            <Grid gap="sm">
              {own.map((f) => (
                <Grid.Col key={f.path} span={{ base: 12, sm: wide(f) ? 12 : 6 }}>
                  <One field={f} value={values[f.path]} error={errors[f.path]} set={set} onChange={(value) => onChange(f.path, value)} />
                </Grid.Col>
              ))}
            </Grid>
          </Fieldset>
        );
      })}
    </Stack>
  );
}

const wide = (f: Field) => f.kind === "pairs" || f.kind === "secrets" || f.kind === "list" || f.kind === "flag" || f.path === "url" || f.path === "base_url" || f.path === "auth.type";

interface OneProps {
  field: Field;
  value: Value | undefined;
  error: string | undefined;
  set: readonly string[];
  onChange: (value: Value) => void;
}

function One({ field: f, value, error, set, onChange }: OneProps) {
  const common = { label: f.label, description: f.description, error };
  if (f.kind === "flag") return <Checkbox {...common} checked={value === true} onChange={(e) => onChange(e.currentTarget.checked)} />;
  if (f.kind === "choice") return <Select {...common} data={[...(f.options ?? [])]} allowDeselect={false} value={String(value ?? "")} onChange={(v) => onChange(v ?? "")} />;
  if (f.kind === "list") return <TagsInput {...common} value={[...((value as string[]) ?? [])]} onChange={onChange} />;
  if (f.kind === "pairs" || f.kind === "secrets") return <Pairs {...common} path={f.path} secret={f.kind === "secrets"} set={set} pairs={(value as Pair[]) ?? []} onChange={onChange} />;
  if (f.kind === "secret") {
    const says = set.includes(f.path) ? "Set. Empty keeps it, as long as nothing else changes" : (f.description ?? "Goes to Vault only and is never shown");
    return <PasswordInput {...common} description={says} autoComplete="new-password" value={String(value ?? "")} onChange={(e) => onChange(e.currentTarget.value)} visibilityToggleButtonProps={{ "aria-label": `Show: ${f.label}` }} />;
  }
  return <TextInput {...common} autoComplete="off" spellCheck={false} value={String(value ?? "")} onChange={(e) => onChange(e.currentTarget.value)} />;
}

interface PairsProps {
  label: string;
  description?: string;
  error?: string;
  path: string;
  secret: boolean;
  set: readonly string[];
  pairs: readonly Pair[];
  onChange: (pairs: readonly Pair[]) => void;
}

function Pairs({ label, description, error, path, secret, set, pairs, onChange }: PairsProps) {
  const edit = (id: number, change: Partial<Pair>) => onChange(pairs.map((p) => (p.id === id ? { ...p, ...change } : p)));
  return (
    <div role="group" aria-label={label}>
      <Input.Label component="div">{label}</Input.Label>
      {description && <Input.Description>{description}</Input.Description>}
      <Stack gap={6} mt={6}>
        {pairs.map((p, i) => {
          const value = { "aria-label": `${label}: value ${i + 1}`, placeholder: secret && set.includes(`${path}.${p.name}`) ? "Set; empty keeps it" : "Value", value: p.value, flex: 2, onChange: (e: { currentTarget: { value: string } }) => edit(p.id, { value: e.currentTarget.value }) };
          return (
            <Group key={p.id} gap={6} wrap="nowrap">
              <TextInput aria-label={`${label}: name ${i + 1}`} placeholder="Name" flex={1} miw={0} autoComplete="off" spellCheck={false} value={p.name} onChange={(e) => edit(p.id, { name: e.currentTarget.value })} />
              {secret ? <PasswordInput {...value} miw={0} autoComplete="new-password" visibilityToggleButtonProps={{ "aria-label": `Show: value ${i + 1}` }} /> : <TextInput {...value} miw={0} autoComplete="off" spellCheck={false} />}
              <ActionIcon aria-label={`Remove ${p.name || `entry ${i + 1}`}`} onClick={() => onChange(pairs.filter((each) => each.id !== p.id))}><IconX size={15} aria-hidden /></ActionIcon>
            </Group>
          );
        })}
        <Button variant="subtle" size="compact-sm" w="fit-content" leftSection={<IconPlus size={14} aria-hidden />} onClick={() => onChange([...pairs, pair()])}>Add one</Button>
        {error && <Input.Error>{error}</Input.Error>}
      </Stack>
    </div>
  );
}
