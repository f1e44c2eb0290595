import { Button, CloseButton, Group, Select, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { IconFilterOff, IconSearch } from "@tabler/icons-react";
import { useState, type ReactNode } from "react";
import { isFiltered, withFilter } from "~/lib/filters";
import classes from "./filter-bar.module.css";

type Values = Record<string, unknown>;

interface TextFilter<K> {
  kind: "text";
  name: K;
  label: string;
  width?: number;
}
interface ChoiceFilter<K> {
  kind: "choice";
  name: K;
  label: string;
  options: readonly (string | { value: string; label: string })[];
  searchable?: boolean;
  width?: number;
}
export type Filter<K> = TextFilter<K> | ChoiceFilter<K>;

interface Props<S extends Values> {
  /** The search of the route, as `route.useSearch()` gives it. */
  search: S;
  /** Usually `(search) => navigate({ search, replace: true })`. */
  onChange: (search: S) => void;
  filters: readonly Filter<keyof S & string>[];
  /** At the far end: counts, exports. */
  children?: ReactNode;
}

/** Filters whose state is the URL: a filtered page can be reloaded, sent to a colleague, gone back to. */
export function FilterBar<S extends Values>({ search, onChange, filters, children }: Props<S>) {
  const set = (name: string, value: string | null) => onChange(withFilter(search, { [name]: value || undefined } as Partial<S>));
  const named = Object.fromEntries(filters.map((f) => [f.name, search[f.name]]));
  return (
    <Group role="search" gap="xs" mb="md" className={classes.bar}>
      {filters.map((f) =>
        f.kind === "text" ? (
          <TextField key={f.name} label={f.label} width={f.width} value={String(search[f.name] ?? "")} onChange={(v) => set(f.name, v)} />
        ) : (
          <Select
            key={f.name} aria-label={f.label} placeholder={f.label} w={f.width ?? 150} clearable
            clearButtonProps={{ "aria-label": `Clear: ${f.label}` }}
            searchable={f.searchable} data={[...f.options]} value={search[f.name] === undefined ? null : String(search[f.name])} onChange={(v) => set(f.name, v)}
          />
        ),
      )}
      {isFiltered(named) && (
        <Button variant="subtle" color="gray" leftSection={<IconFilterOff size={15} aria-hidden />}
          onClick={() => onChange(withFilter(search, Object.fromEntries(filters.map((f) => [f.name, undefined])) as Partial<S>))}>
          Clear filters
        </Button>
      )}
      {children && <Group gap="xs" ml="auto">{children}</Group>}
    </Group>
  );
}

/** Waits until one stops typing before it asks; follows the URL when that changes by itself. */
function TextField({ label, value, width, onChange }: { label: string; value: string; width?: number; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  const [seen, setSeen] = useState(value);
  if (value !== seen) {
    setSeen(value);
    setText(value);
  }
  const later = useDebouncedCallback(onChange, 250);
  return (
    <TextInput
      aria-label={label} placeholder={label} w={width ?? 240} value={text} type="search" leftSection={<IconSearch size={15} aria-hidden />}
      rightSection={text && <CloseButton size="sm" aria-label={`Clear: ${label}`} onClick={() => { setText(""); onChange(""); }} />}
      onChange={(e) => { setText(e.currentTarget.value); later(e.currentTarget.value.trim()); }}
    />
  );
}
