import { Autocomplete, CloseButton } from "@mantine/core";
import { useState, type KeyboardEvent } from "react";

interface Suggestion {
  value: string;
  label: string;
}
interface Props {
  label: string;
  value: string | undefined;
  suggestions: readonly (string | Suggestion)[];
  onChange: (value: string | undefined) => void;
  width?: number | string;
  /** Shows the label above instead of inside. */
  labelled?: boolean;
  placeholder?: string;
}

/** A filter one may type freely or choose; takes effect on Enter, on leaving, or on a choice. */
export function SuggestField({ label, value, suggestions, onChange, width = 190, labelled, placeholder = labelled ? "Any" : label }: Props) {
  const all = suggestions.map((s) => (typeof s === "string" ? { value: s, label: s } : s));
  const labelOf = (v: string) => all.find((s) => s.value === v)?.label ?? v;
  const shown = value ? labelOf(value) : "";
  const [text, setText] = useState(shown);
  const [seen, setSeen] = useState(shown);
  if (shown !== seen) {
    setSeen(shown);
    setText(shown);
  }
  const commit = (typed: string) => {
    const t = typed.trim();
    const next = t === "" ? undefined : (all.find((s) => s.label === t)?.value ?? t);
    if (next !== value) onChange(next);
  };
  return (
    <Autocomplete
      aria-label={labelled ? undefined : label} label={labelled ? label : undefined} placeholder={placeholder} w={width} size="sm" openOnFocus={false} maxDropdownHeight={260} limit={30}
      data={[...new Set(all.map((s) => s.label))]} value={text} onChange={setText} onOptionSubmit={commit} onBlur={() => commit(text)}
      onKeyDown={(e: KeyboardEvent) => { if (e.key === "Enter") commit(text); }}
      comboboxProps={{ shadow: "md" }}
      rightSection={text && <CloseButton size="sm" aria-label={`Clear: ${label}`} onClick={() => { setText(""); onChange(undefined); }} />}
      rightSectionPointerEvents="all"
    />
  );
}
