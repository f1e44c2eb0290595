import type { Schemas } from "~/api/client";

export type Permission = Schemas["Permission"];

/** What of the platform can be opened, in the order in which it is shown. */
export const subjects: { name: string; label: string; says: string; read?: Permission; write?: Permission; other?: { permission: Permission; label: string } }[] = [
  { name: "tenant", label: "Settings", says: "name, quotas, export", read: "tenant:read", write: "tenant:write" },
  { name: "members", label: "People", says: "members and invitations", read: "members:read", write: "members:write" },
  { name: "roles", label: "Access", says: "roles and what they open", read: "roles:read", write: "roles:write" },
  { name: "servers", label: "Servers", says: "servers, tools, connections", read: "servers:read", write: "servers:write" },
  { name: "tools", label: "Trying tools", says: "calls a tool from the console, as oneself", other: { permission: "tools:try", label: "Try" } },
  { name: "clients", label: "Clients", says: "connected apps and their grants", read: "clients:read", write: "clients:write" },
  { name: "approvals", label: "Approvals", says: "who let whose calls through; a key with it decides", read: "approvals:read", write: "approvals:write" },
  { name: "events", label: "Events", says: "loops, withheld secrets and the like", read: "events:read", write: "events:write" },
  { name: "switches", label: "Kill switches", says: "stops tools, people, apps, everything", read: "switches:read", write: "switches:write" },
  { name: "limits", label: "Limits", says: "how often and how many at once", read: "limits:read", write: "limits:write" },
  { name: "keys", label: "API keys", says: "keys for scripts", read: "keys:read", write: "keys:write" },
  { name: "audit", label: "Audit", says: "every call and change", read: "audit:read" },
  { name: "usage", label: "Usage", says: "how many, how fast, what failed", read: "usage:read" },
];

/** Adds or removes one; a right to change comes and goes with the right to see. */
export function togglePermission(held: readonly Permission[], permission: Permission, on: boolean): Permission[] {
  const next = new Set(held);
  const subject = subjects.find((s) => s.read === permission || s.write === permission);
  if (on) {
    next.add(permission);
    if (subject?.write === permission && subject.read) next.add(subject.read);
  } else {
    next.delete(permission);
    if (subject?.read === permission && subject.write) next.delete(subject.write);
  }
  return [...next];
}

/** "everything", "sees people and audit; changes access". */
export function permissionWords(held: readonly Permission[]): string {
  if (held.includes("admin")) return "everything";
  const changes = subjects.filter((s) => s.write && held.includes(s.write)).map((s) => s.label.toLowerCase());
  const sees = subjects.filter((s) => s.read && held.includes(s.read) && !(s.write && held.includes(s.write))).map((s) => s.label.toLowerCase());
  const parts = [changes.length && `changes ${changes.join(", ")}`, sees.length && `sees ${sees.join(", ")}`, held.includes("tools:try") && "tries tools"].filter(Boolean);
  return parts.join("; ") || "nothing on the platform";
}
