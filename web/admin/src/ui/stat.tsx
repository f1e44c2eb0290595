import { Paper, SimpleGrid } from "@mantine/core";
import type { ReactNode } from "react";
import classes from "./stat.module.css";

/** One number that matters, with its name above and what it means below. */
export function Stat({ label, value, tone, children }: { label: string; value: ReactNode; tone?: "bad" | "warn"; children?: ReactNode }) {
  return (
    <Paper className={classes.stat} component="div" role="group" aria-label={label}>
      <div className={classes.label}>{label}</div>
      <div className={classes.value} data-tone={tone}>{value}</div>
      {children && <div className={classes.note}>{children}</div>}
    </Paper>
  );
}

export const Stats = SimpleGrid.withProps({ spacing: "sm", verticalSpacing: "sm", type: "container" });
