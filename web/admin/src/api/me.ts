import { queryOptions, useSuspenseQuery, useQuery } from "@tanstack/react-query";
import { api, body, type Schemas } from "./client";

export type Me = Schemas["Me"];

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => body(api.GET("/me", { signal })),
  staleTime: 60_000,
});

/** The person at the console; the shell has read it before any page is drawn. */
export const useMe = (): Me => useSuspenseQuery(meQuery).data;

/** `admin` implies every permission; `x:write` implies `x:read`. The platform decides, this only saves a refused click. */
export function allows(permissions: readonly string[], needed: string): boolean {
  if (permissions.includes("admin") || permissions.includes(needed)) return true;
  const [noun, verb] = needed.split(":");
  return verb === "read" && permissions.includes(`${noun}:write`);
}

export function useCan(): (permission: string | undefined) => boolean {
  const { data } = useQuery(meQuery);
  return (permission) => !permission || (data !== undefined && (data.kind === "operator" || allows(data.permissions, permission)));
}
