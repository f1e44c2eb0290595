import { IconBan, IconCheck, IconHourglass, IconQuestionMark, IconX, type Icon } from "@tabler/icons-react";
import type { Schemas } from "~/api/client";
import classes from "./outcome.module.css";

export type Outcome = Schemas["Outcome"];

export const outcomes: Record<Outcome, { label: string; says: string; icon: Icon }> = {
  done: { label: "Done", says: "It ran and answered.", icon: IconCheck },
  failed: { label: "Failed", says: "It was allowed and failed.", icon: IconX },
  refused: { label: "Refused", says: "It was not allowed and did not run.", icon: IconBan },
  pending: { label: "Begun", says: "It was allowed to begin; its outcome is a record of its own.", icon: IconHourglass },
  unknown: { label: "Unknown", says: "It may or may not have taken effect.", icon: IconQuestionMark },
};
export const outcomeOptions = Object.entries(outcomes).map(([value, { label }]) => ({ value, label }));

/** How a call ended: shape, word and colour all say it. */
export function OutcomeMark({ outcome, large }: { outcome: Outcome; large?: boolean }) {
  const { label, icon: Icon } = outcomes[outcome] ?? outcomes.unknown;
  return (
    <span className={classes.mark} data-outcome={outcome} data-large={large || undefined}>
      <span className={classes.disc}><Icon size={large ? 15 : 12} stroke={2.4} aria-hidden /></span>
      {label}
    </span>
  );
}
