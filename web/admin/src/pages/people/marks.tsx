import { Badge } from "@mantine/core";
import { capital } from "~/lib/words";
import type { Invitation, MemberStatus } from "./api";

const states: Record<MemberStatus, { label: string; color: string }> = {
  active: { label: "Active", color: "green" },
  disabled: { label: "Disabled", color: "red" },
  no_password: { label: "Never signed in", color: "amber" },
};
export const statusOptions = Object.entries(states).map(([value, { label }]) => ({ value, label }));
export const MemberMark = ({ status }: { status: MemberStatus }) => <Badge color={states[status].color}>{states[status].label}</Badge>;

const invitations: Record<Invitation["status"], string> = { pending: "accent", accepted: "green", expired: "amber", revoked: "gray" };
export const invitationOptions = Object.keys(invitations).map((value) => ({ value, label: capital(value) }));
export const InvitationMark = ({ status }: { status: Invitation["status"] }) => <Badge color={invitations[status]}>{capital(status)}</Badge>;
