import { queryOptions } from "@tanstack/react-query";
import { api, at, body, tagged, type Schemas } from "~/api/client";

export type Server = Schemas["Server"];
export type Revision = Schemas["Revision"];

export const serverQuery = (server: string) => queryOptions({
  queryKey: ["servers", server],
  queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}/servers/{server}", { params: { path: at({ server }) }, signal })),
});

export const revisionQuery = (server: string, revision: number) => queryOptions({
  queryKey: ["servers", server, "revisions", revision],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/servers/{server}/revisions/{revision}", { params: { path: at({ server, revision }) }, signal })),
});

/** Which roles open each tool of what is served, by name. A revision does not say: roles change without it. */
export const openedQuery = (server: string) => queryOptions({
  queryKey: ["servers", server, "opened"],
  queryFn: async ({ signal }) => {
    const roles = new Map<string, readonly string[]>();
    let cursor: string | undefined;
    do {
      const page: Schemas["ToolPage"] = await body(api.GET("/tenants/{tenant}/tools", { params: { path: at(), query: { server, cursor, limit: 200 } }, signal }));
      for (const t of page.data) roles.set(t.name, t.roles ?? []);
      cursor = page.next_cursor;
    } while (cursor);
    return roles;
  },
});

/** How `to` differs from `from`; without `from`, from what is served. */
export const diffQuery = (server: string, to: number, from?: number) => queryOptions({
  queryKey: ["servers", server, "diff", to, from],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/servers/{server}/revisions/{revision}/diff", { params: { path: at({ server, revision: to }), query: from ? { from } : {} }, signal })),
  staleTime: 0,
});

export const kindsQuery = queryOptions({
  queryKey: ["kinds"],
  queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/kinds", { params: { path: at() }, signal })),
  staleTime: Infinity,
});

/** `allowBreaking` publishes what the platform would refuse because it breaks who uses the tools. */
export function publish(server: string, revision: number, allowBreaking = false) {
  return body(api.POST("/tenants/{tenant}/servers/{server}/revisions/{revision}/publish", { params: { path: at({ server, revision }), query: allowBreaking ? { allow_breaking: true } : {} } }));
}
