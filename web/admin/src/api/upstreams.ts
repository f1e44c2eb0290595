import { queryOptions } from "@tanstack/react-query";
import { api, at, body } from "./client";

// What is known of the systems behind servers; the overview and the page of a server read it.

/** Changes by itself, so it is read again while somebody looks. */
export const healthQuery = (server: string) => queryOptions({
  queryKey: ["servers", server, "health"],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/servers/{server}/health", { params: { path: at({ server }) }, signal })),
  refetchInterval: 10_000, refetchIntervalInBackground: false, staleTime: 5000,
});

/** What of its upstream's tools is agreed to and what waits; soon again while the first answer is awaited. */
export const offerQuery = (server: string) => queryOptions({
  queryKey: ["servers", server, "offer"],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/servers/{server}/offer", { params: { path: at({ server }) }, signal })),
  refetchInterval: ({ state: { data } }) => (data?.awaited ? 2000 : data?.discovers ? 30_000 : false), refetchIntervalInBackground: false, staleTime: 5000,
});

/** The tenant's account at the upstream of a server that authenticates by OAuth. */
export const accountQuery = (server: string) => queryOptions({
  queryKey: ["servers", server, "account"],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/servers/{server}/account", { params: { path: at({ server }) }, signal })),
  staleTime: 5000,
});
