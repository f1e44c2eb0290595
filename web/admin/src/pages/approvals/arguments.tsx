import { Text } from "@mantine/core";
import { useState } from "react";
import { argumentRows, folded, type Shown } from "./words";
import classes from "./approvals.module.css";

/** What the call would be made with: all of it, the long ones folded. It is what one decides about. */
export function Arguments({ of: values }: { of: Record<string, unknown> }) {
  const rows = argumentRows(values);
  if (rows.length === 0) return <Text size="sm" c="dimmed">Without arguments.</Text>;
  return (
    <dl className={classes.arguments} aria-label="Arguments">
      {rows.map((row) => (
        <div key={row.name}>
          <dt>{row.name}</dt>
          <dd><Value of={row} /></dd>
        </div>
      ))}
    </dl>
  );
}

function Value({ of: { name, value, json } }: { of: Shown }) {
  const [open, setOpen] = useState(false);
  const short = folded(value);
  const words = open ? "Show less" : `Show all ${value.length.toLocaleString("en")} characters`;
  const shown = open || short === undefined ? value : `${short}…`;
  return (
    <>
      {json || shown.includes("\n") ? <pre className={classes.value}>{shown}</pre> : shown}
      {short !== undefined && (
        <div>
          <button type="button" className={classes.fold} aria-expanded={open} aria-label={`${words} of ${name}`} onClick={() => setOpen(!open)}>
            {words}
          </button>
        </div>
      )}
    </>
  );
}
