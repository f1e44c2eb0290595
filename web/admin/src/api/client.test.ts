import { expect, test, vi } from "vitest";
import { platform, problem, Reply } from "~/testing/platform";
import { api, at, body, signInURL, tagged } from "./client";
import { isStale, ProblemError } from "./problem";

const role = { name: "finance", description: "", scopes: [], permissions: [], members: 0 };

test("what is read keeps its tag, and a write carries it", async () => {
  const seen = platform({
    "GET /tenants/{tenant}/roles/{role}": () => new Reply(role, { etag: '"v1"' }),
    "PUT /tenants/{tenant}/roles/{role}": () => role,
  });
  const read = await tagged(api.GET("/tenants/{tenant}/roles/{role}", { params: { path: at({ role: "finance" }) } }));
  expect(read).toEqual({ data: role, etag: '"v1"' });
  await body(api.PUT("/tenants/{tenant}/roles/{role}", { params: { path: at({ role: "finance" }), header: { "If-Match": read.etag } }, body: { scopes: [] } }));
  expect(seen[1]!.headers.get("If-Match")).toBe('"v1"');
});

test("a write of something older fails as stale", async () => {
  platform({ "PUT /tenants/{tenant}/roles/{role}": () => problem(412, "conflict", "Read it again.") });
  const error = await body(api.PUT("/tenants/{tenant}/roles/{role}", { params: { path: at({ role: "finance" }), header: { "If-Match": '"v0"' } }, body: { scopes: [] } })).catch((e: unknown) => e);
  expect(isStale(error)).toBe(true);
});

test("each POST has a key of its own, and nothing else has one", async () => {
  const seen = platform({
    "POST /tenants/{tenant}/api-keys": () => problem(422, "invalid_arguments", "No."),
    "GET /tenants/{tenant}/roles/{role}": () => role,
  });
  const make = () => body(api.POST("/tenants/{tenant}/api-keys", { params: { path: at() }, body: { name: "ci", permissions: ["audit:read"] } })).catch(() => undefined);
  await make();
  await make();
  await body(api.GET("/tenants/{tenant}/roles/{role}", { params: { path: at({ role: "finance" }) } }));
  const keys = seen.map((s) => s.headers.get("Idempotency-Key"));
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(keys[1]).not.toBe(keys[0]);
  expect(keys[2]).toBeNull();
});

test("a refusal is thrown with its code", async () => {
  platform({ "GET /tenants/{tenant}/roles/{role}": () => problem(404, "not_found", "No such role.") });
  const error = await body(api.GET("/tenants/{tenant}/roles/{role}", { params: { path: at({ role: "nobody" }) } })).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(ProblemError);
  expect((error as ProblemError).code).toBe("not_found");
});

test("who is not signed in goes to sign in and comes back", async () => {
  const assign = vi.spyOn(location, "assign").mockImplementation(() => {});
  platform({ "GET /me": () => problem(401, "unauthenticated", "Sign in.") });
  void api.GET("/me");
  await vi.waitFor(() => expect(assign).toHaveBeenCalledOnce());
  expect(assign.mock.calls[0]![0]).toContain("/sign-in?return_to=");
  expect(signInURL({ pathname: "/t/acme/admin/tools", search: "?risk=write" })).toBe("/sign-in?return_to=%2Ft%2Facme%2Fadmin%2Ftools%3Frisk%3Dwrite");
});
