import type { ReactNode } from "react";
import classes from "./facts.module.css";

/** Pairs of a name and what it is; what has no value is left out. */
export function Facts({ facts, label }: { facts: readonly (readonly [name: string, value: ReactNode])[]; label?: string }) {
  return (
    <dl className={classes.facts} aria-label={label}>
      {facts.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
