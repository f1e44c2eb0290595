import { queryOptions } from "@tanstack/react-query";
import { api, at, body, tagged } from "~/api/client";

export const connectionQuery = (server: string) => queryOptions({
  queryKey: ["connections", "of", server],
  queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}/servers/{server}/connection", { params: { path: at({ server }) }, signal })),
});

/** When credentials were issued: told by the list only, as it changes with every call and would make each read of the connection a new version. */
export const issuedQuery = (server: string) => queryOptions({
  queryKey: ["connections", "use", server],
  queryFn: async ({ signal }) => {
    let cursor: string | undefined;
    do {
      const page = await body(api.GET("/tenants/{tenant}/connections", { params: { path: at(), query: { cursor, limit: 200 } }, signal }));
      const found = page.data.find((c) => c.server === server);
      if (found) return found;
      cursor = page.has_more ? page.next_cursor : undefined;
    } while (cursor);
    return null;
  },
});
