import { Badge, Tooltip } from "@mantine/core";
import type { Approval } from "~/api/safety";
import { TimeLeft, useNow } from "~/ui/time";
import { statuses } from "./words";
import classes from "./approvals.module.css";

export function StatusMark({ status }: { status: Approval["status"] }) {
  const { label, color, says } = statuses[status];
  return <Tooltip label={says}><Badge color={color} tabIndex={0}>{label}</Badge></Tooltip>;
}

const soon = 5 * 60_000;

export function Left({ until }: { until: string }) {
  return <span className={classes.left} data-soon={Date.parse(until) - useNow() < soon || undefined}><TimeLeft until={until} over="expired" /></span>;
}
