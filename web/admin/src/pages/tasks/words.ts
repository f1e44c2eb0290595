import type { Schemas } from "~/api/client";

export type Task = Schemas["Task"];

export const statuses: Record<Task["status"], { label: string; color: string; says: string }> = {
  queued: { label: "Waits", color: "gray", says: "It waits for a worker, up to an hour." },
  running: { label: "Runs", color: "accent", says: "A worker has it." },
  input_required: { label: "Asks", color: "amber", says: "It waits for an answer of who made the call; its worker is held meanwhile." },
  completed: { label: "Done", color: "green", says: "The tool has answered." },
  failed: { label: "Failed", color: "red", says: "It did not do what was asked." },
  cancelled: { label: "Cancelled", color: "gray", says: "It was ended before it was done." },
};

export const statusOptions = Object.entries(statuses).map(([value, { label }]) => ({ value, label }));

/** It can still be asked to end. */
export const goesOn = (t: Pick<Task, "status">) => t.status === "queued" || t.status === "running" || t.status === "input_required";
