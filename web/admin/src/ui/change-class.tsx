import { Alert, Badge, Text, Tooltip } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import type { Schemas } from "~/api/client";
import { fieldName } from "~/lib/diff";
import { count } from "~/lib/words";
import classes from "./change-class.module.css";

type Class = Schemas["ChangeClass"];

export const changeClasses: Record<Class, { label: string; color: string; says: string }> = {
  none: { label: "Nothing for callers", color: "gray", says: "Who uses the tools notices nothing of it." },
  additive: { label: "Additive", color: "green", says: "Who uses the tools goes on as before; there is more to use." },
  breaking: { label: "Breaking", color: "red", says: "A call that works today would fail or mean something else." },
};

export function ClassBadge({ of: name }: { of: Class }) {
  const { label, color, says } = changeClasses[name];
  return <Tooltip label={says}><Badge color={color} tabIndex={0}>{label}</Badge></Tooltip>;
}

/** What would fail for those who use the tools, each with what to do instead. */
export function BreakingList({ breaking }: { breaking: readonly Schemas["BreakingChange"][] }) {
  if (breaking.length === 0) return null;
  return (
    <Alert color="red" icon={<IconAlertTriangle aria-hidden />} title={`${count(breaking.length, "change breaks", "changes break")} who uses the tools`}>
      <ul className={classes.list} aria-label="Breaking changes">
        {breaking.map((b) => (
          <li key={`${b.tool} ${b.field} ${b.detail}`}>
            <div><span className="mono">{b.tool}</span>{b.field && <span className={classes.dim}> · {fieldName(b.field)}</span>}</div>
            <div>{b.detail}</div>
            <div className={classes.dim}><b>Instead:</b> {b.fix}</div>
          </li>
        ))}
      </ul>
    </Alert>
  );
}

/** What was noticed of descriptions: errors keep a revision from being published, warnings do not. */
export function Findings({ findings }: { findings: readonly Schemas["LintFinding"][] | undefined }) {
  if (!findings || findings.length === 0) return null;
  const errors = findings.filter((f) => f.level === "error");
  return (
    <Alert color={errors.length > 0 ? "red" : "amber"} icon={<IconAlertTriangle aria-hidden />} title={errors.length > 0 ? `${count(errors.length, "description")} could mislead a model, so it cannot be published` : `${count(findings.length, "thing")} to improve for models`}>
      <ul className={classes.list} aria-label="Findings">
        {[...errors, ...findings.filter((f) => f.level !== "error")].map((f) => (
          <li key={`${f.tool} ${f.code} ${f.detail}`}>
            <div><Badge color={f.level === "error" ? "red" : "amber"}>{f.level === "error" ? "Error" : "Warning"}</Badge> <span className="mono">{f.tool}</span></div>
            <div>{f.detail}</div>
            {f.fix && <Text size="xs" c="dimmed">{f.fix}</Text>}
          </li>
        ))}
      </ul>
    </Alert>
  );
}
