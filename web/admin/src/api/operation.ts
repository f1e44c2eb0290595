import { useQuery } from "@tanstack/react-query";
import { api, at, body, type Schemas } from "./client";

export type Operation = Schemas["Operation"];

export const isOver = (operation: Operation | undefined) => operation?.state === "done" || operation?.state === "failed";

/** Follows long work until it is done or failed. */
export function useOperation(id: string | undefined) {
  return useQuery({
    queryKey: ["operation", id],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/operations/{operation}", { params: { path: at({ operation: id! }) }, signal })),
    enabled: id !== undefined,
    staleTime: 0,
    refetchInterval: (query) => (isOver(query.state.data) ? false : 1000),
  });
}
