import { Badge } from "@mantine/core";
import type { Server } from "./queries";

const words = { published: ["Published", "green"], draft: ["Draft", "amber"], deleting: ["Being deleted", "red"] } as const;

export function ServerStatus({ status }: { status: Server["status"] }) {
  const [label, color] = words[status];
  return <Badge color={color}>{label}</Badge>;
}

/** Something was staged after what is served. */
export const hasDraft = (s: Server) => s.status === "published" && s.latest_revision !== undefined && s.active_revision !== undefined && s.latest_revision > s.active_revision;
