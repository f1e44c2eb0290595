import { Tooltip } from "@mantine/core";
import type { Schemas } from "~/api/client";
import classes from "./risk.module.css";

export type Risk = Schemas["Risk"];

/** The words and shapes of the consent page, so that a person meets the same thing on both. */
export const risks: Record<Risk, { label: string; says: string }> = {
  read: { label: "Reads", says: "Looks things up and changes nothing." },
  write: { label: "Changes", says: "Changes things in a way that can be undone." },
  destructive: { label: "Cannot be undone", says: "Deletes, sends or pays." },
};

export const riskOptions = Object.entries(risks).map(([value, { label }]) => ({ value, label }));

/** Shape and colour both say it; `bare` is for where the word stands elsewhere. */
export function RiskMark({ risk, bare }: { risk: Risk; bare?: boolean }) {
  const { label, says } = risks[risk];
  return (
    <Tooltip label={bare ? `${label}. ${says}` : says}>
      <span className={classes.mark} data-risk={risk} role={bare ? "img" : undefined} aria-label={bare ? label : undefined}>
        <svg width="9" height="9" viewBox="0 0 9 9" aria-hidden="true">
          {risk === "read" ? <circle cx="4.5" cy="4.5" r="4" /> : risk === "write" ? <rect x="0.75" y="0.75" width="7.5" height="7.5" rx="1.5" /> : <path d="M4.5 0.6 8.7 8.2H.3z" />}
        </svg>
        {!bare && label}
      </span>
    </Tooltip>
  );
}
