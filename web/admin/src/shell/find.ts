import { queryOptions } from "@tanstack/react-query";
import { api, at, body } from "~/api/client";

// What the shell itself looks up: enough to jump to a thing, or to know whom to ask.

export const findServers = queryOptions({
  queryKey: ["find", "servers"],
  queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/servers", { params: { path: at(), query: { limit: 200 } }, signal }))).data,
});

export const findPeople = queryOptions({
  queryKey: ["find", "people"],
  queryFn: async ({ signal }) => (await body(api.GET("/tenants/{tenant}/members", { params: { path: at(), query: { limit: 200 } }, signal }))).data,
});

/** Addresses of a few people who hold the role that every tenant is made with. */
export const findAdmins = queryOptions({
  queryKey: ["find", "admins"],
  queryFn: async ({ signal }) => {
    const page = await body(api.GET("/tenants/{tenant}/members", { params: { path: at(), query: { role: "admin", status: "active", limit: 3 } }, signal }));
    return page.data.map((m) => m.email);
  },
});
