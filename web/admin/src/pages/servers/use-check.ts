import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { api, at, body } from "~/api/client";

/** Asks the platform, a moment after one stops typing, what is wrong with a spec and what it would offer. */
export function useCheck(server: string, kind: string, spec: string, enabled = true) {
  const [settled] = useDebouncedValue(spec, 450);
  const query = useQuery({
    queryKey: ["check", server, kind, settled],
    queryFn: ({ signal }) => body(api.POST("/tenants/{tenant}/servers/{server}/check", { params: { path: at({ server }) }, body: { kind, spec_yaml: settled }, signal })),
    enabled: enabled && settled.trim() !== "",
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    gcTime: 60_000,
  });
  const current = settled === spec && query.data !== undefined && !query.isPlaceholderData && !query.isFetching;
  return { query, check: query.data, problems: query.data?.problems ?? [], /** What is known is about what stands in the editor. */ current, good: current && query.data!.ok };
}
