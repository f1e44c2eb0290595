import { CopyButton } from "./copy";
import classes from "./code.module.css";

interface CodeViewProps {
  value: string;
  /** Says what it is, to screen readers and on the copy button. */
  label: string;
  maxHeight?: number;
  numbers?: boolean;
}

/** Text that is read line by line: a spec, a statement, a command. */
export function CodeView({ value, label, maxHeight = 420, numbers }: CodeViewProps) {
  return (
    <div className={classes.box}>
      <pre className={classes.text} tabIndex={0} role="region" aria-label={label} style={{ maxHeight }} data-numbers={numbers || undefined}>
        {numbers ? value.replace(/\n$/, "").split("\n").map((line, i) => <span key={i} className={classes.line}>{line}{"\n"}</span>) : value}
      </pre>
      <div className={classes.copy}><CopyButton value={value} label={`Copy: ${label}`} /></div>
    </div>
  );
}

export function JsonView({ value, label, maxHeight }: { value: unknown; label: string; maxHeight?: number }) {
  return <CodeView value={JSON.stringify(value, null, 2) ?? "null"} label={label} maxHeight={maxHeight} />;
}
