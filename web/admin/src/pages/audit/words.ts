import type { AuditEvent } from "./tail";

/** What was done: "search_orders", "Role put". An API change is named by its operation. */
export function action(event: AuditEvent): string {
  if (event.method === "api") return operationWords(event.tool ?? "");
  return event.tool ?? event.method;
}

/** `putRole` is "put role", `createAPIKey` is "create API key". */
export function operationWords(id: string): string {
  if (!id) return "change";
  return id.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2").split(" ").map((w) => (/^[A-Z]{2,}s?$/.test(w) ? w : w.toLowerCase())).join(" ");
}

export const who = (event: AuditEvent): string => event.member || event.member_id || event.client_name || event.client || "nobody known";

/** One sentence for the head of the details. */
export function sentence(event: AuditEvent): string {
  const by = who(event);
  const through = event.client_name && event.client_name !== by ? ` through ${event.client_name}` : "";
  const on = event.server ? ` on ${event.server}` : "";
  if (event.method === "api") return `${by}: ${action(event)}${through}`;
  if (event.method === "resources/read") return `${by} read ${action(event)}${on}${through}`;
  return `${by} called ${action(event)}${on}${through}`;
}

const phases = { intent: "Recorded before it ran", outcome: "Ended", refusal: "Refused before anything ran" } as const;
export const phaseWords = (event: AuditEvent): string => phases[event.phase];

/** Milliseconds between two records of a call, for its timeline. */
export const between = (a: string, b: string): number => new Date(b).getTime() - new Date(a).getTime();
