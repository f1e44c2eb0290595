import { Badge, Loader } from "@mantine/core";
import type { Operation } from "~/api/operation";

const states: Record<Operation["state"], { label: string; color: string }> = {
  queued: { label: "Waiting", color: "gray" }, running: { label: "Running", color: "accent" }, done: { label: "Done", color: "green" }, failed: { label: "Failed", color: "red" },
};
const kinds: Record<Operation["kind"], string> = { delete_server: "Delete the server", delete_tenant: "Delete the tenant" };

export const operationWords = (operation: Pick<Operation, "kind" | "target">): string => `${kinds[operation.kind] ?? operation.kind} ${operation.target}`;

export function OperationMark({ state }: { state: Operation["state"] }) {
  return <Badge color={states[state].color} leftSection={state === "running" ? <Loader size={9} aria-hidden /> : undefined}>{states[state].label}</Badge>;
}
