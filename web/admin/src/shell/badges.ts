import { useOpenEvents, usePendingApprovals } from "~/api/safety";

export interface Badge {
  count: number;
  /** There are more than were read. */
  more: boolean;
  says: string;
  grave?: boolean;
}

/** What waits behind an entry of the navigation, by its address. */
export function useBadges(): Partial<Record<string, Badge>> {
  const approvals = usePendingApprovals().data;
  const events = useOpenEvents().data;
  const mine = approvals?.data.filter((a) => a.may_decide).length ?? 0;
  const critical = events?.data.filter((e) => e.severity === "critical").length ?? 0;
  return {
    ...(mine > 0 && { "/approvals": { count: mine, more: approvals!.has_more, says: "wait for you" } }),
    ...(critical > 0 && { "/events": { count: critical, more: events!.has_more, says: "critical and open", grave: true } }),
  };
}
