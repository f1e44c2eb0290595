import type { Me } from "~/api/me";
import type { Approval } from "~/api/safety";

export const statuses: Record<Approval["status"], { label: string; color: string; says: string }> = {
  pending: { label: "Waiting", color: "amber", says: "Nobody has decided yet." },
  approved: { label: "Approved", color: "green", says: "The call may run once, until the approval expires." },
  denied: { label: "Denied", color: "red", says: "The call was refused, with the reason." },
  expired: { label: "Expired", color: "gray", says: "Its time ran out before it was decided or used." },
  used: { label: "Used", color: "accent", says: "It was approved, and the call ran." },
};

/** Why there is no button. */
export function whyNot(approval: Pick<Approval, "status" | "may_decide" | "member" | "member_id" | "role">, me: Pick<Me, "id" | "email">): string | undefined {
  if (approval.status !== "pending" || approval.may_decide) return undefined;
  const own = approval.member_id ? approval.member_id === me.id : approval.member === me.email;
  if (own) return `You asked for this yourself, so somebody else with the role ${approval.role} decides.`;
  return `Who holds the role ${approval.role} decides.`;
}

/** Those one may decide first, and of each the one that ends first. */
export function arrange(pending: readonly Approval[]): Approval[] {
  return pending.toSorted((a, b) => Number(b.may_decide) - Number(a.may_decide) || a.expires_at.localeCompare(b.expires_at));
}

export interface Shown {
  name: string;
  /** A plain text or number is shown as it is, all else as JSON. */
  value: string;
  json: boolean;
}

export function argumentRows(values: Record<string, unknown>): Shown[] {
  return Object.entries(values).map(([name, value]) => {
    const json = typeof value === "object" && value !== null;
    return { name, json, value: json ? JSON.stringify(value, null, 2) : value === "" ? "(empty)" : String(value) };
  });
}

const foldAt = 320;
const foldLines = 14;

/** The beginning of a long value, or nothing where it is short enough. */
export function folded(value: string): string | undefined {
  const lines = value.split("\n");
  const short = lines.length > foldLines ? lines.slice(0, foldLines).join("\n") : value;
  const cut = short.length > foldAt ? short.slice(0, foldAt) : short;
  return cut === value ? undefined : cut.trimEnd();
}
