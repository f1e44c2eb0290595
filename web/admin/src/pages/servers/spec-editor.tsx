import { Text, UnstyledButton } from "@mantine/core";
import { IconAlertCircle } from "@tabler/icons-react";
import { useId, useRef, type KeyboardEvent } from "react";
import type { Schemas } from "~/api/client";
import classes from "./spec-editor.module.css";

type Problem = Schemas["FieldError"];

interface Props {
  value: string;
  onChange: (value: string) => void;
  problems: readonly Problem[];
  readOnly?: boolean;
  label?: string;
}

/** A plain text area with line numbers, and the problems beside and below it. Tab leaves it, as everywhere else. */
export function SpecEditor({ value, onChange, problems, readOnly, label = "Spec in YAML" }: Props) {
  const id = useId();
  const text = useRef<HTMLTextAreaElement>(null);
  const gutter = useRef<HTMLDivElement>(null);
  const lines = value.split("\n").length;
  const bad = new Set(problems.map((p) => p.line));

  const jump = (line: number | undefined) => {
    const el = text.current;
    if (!el || !line) return;
    const start = value.split("\n").slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    const end = value.indexOf("\n", start);
    el.focus();
    el.setSelectionRange(start, end < 0 ? value.length : end);
    el.scrollTop = Math.max(0, (line - 6) * 20);
  };

  return (
    <div>
      <div className={classes.editor} data-bad={problems.length > 0 || undefined}>
        <div className={classes.gutter} aria-hidden>
          <div ref={gutter}>
            {Array.from({ length: lines }, (_, i) => <div key={i} data-bad={bad.has(i + 1) || undefined}>{i + 1}</div>)}
          </div>
        </div>
        <textarea
          ref={text} className={classes.text} value={value} readOnly={readOnly} wrap="off" spellCheck={false} autoCapitalize="off" autoComplete="off"
          aria-label={label} aria-describedby={`${id}-problems`} aria-invalid={problems.length > 0}
          onChange={(e) => onChange(e.currentTarget.value)} onKeyDown={(e) => keepIndent(e, onChange)}
          onScroll={(e) => { if (gutter.current) gutter.current.style.transform = `translateY(${-e.currentTarget.scrollTop}px)`; }}
        />
      </div>
      <div id={`${id}-problems`} role="status">
        {problems.length > 0 && (
          <ul className={classes.problems} aria-label="Problems">
            {problems.map((p) => (
              <li key={`${p.line} ${p.pointer} ${p.detail}`}>
                <UnstyledButton className={classes.problem} onClick={() => jump(p.line)} disabled={!p.line}>
                  <IconAlertCircle size={15} aria-hidden />
                  <span>
                    {p.line && <b className="num">Line {p.line}: </b>}
                    <span className="mono">{p.pointer}</span> {p.detail}
                    {p.fix && <Text span size="sm" c="dimmed">; {p.fix}</Text>}
                  </span>
                </UnstyledButton>
              </li>
            ))}
          </ul>
        )}
      </div>
    </div>
  );
}

/** Enter begins the next line where this one began, and deeper after a colon. */
function keepIndent(e: KeyboardEvent<HTMLTextAreaElement>, onChange: (value: string) => void) {
  if (e.key !== "Enter" || e.shiftKey || e.ctrlKey || e.metaKey || e.nativeEvent.isComposing) return;
  const el = e.currentTarget;
  const { value, selectionStart, selectionEnd } = el;
  const insert = `\n${indentAfter(value.slice(value.lastIndexOf("\n", selectionStart - 1) + 1, selectionStart))}`;
  if (insert === "\n") return;
  e.preventDefault();
  el.setRangeText(insert, selectionStart, selectionEnd, "end");
  onChange(el.value);
}

export function indentAfter(line: string): string {
  const indent = /^\s*/.exec(line)![0];
  return /:\s*([|>][+-]?)?\s*$/.test(line) ? `${indent}  ` : indent;
}
