import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { server } from "./servers.fixture";
import { visit } from "./visit";

const issues = server("issues", { kind: "remote" });
const connection: Schemas["Connection"] = { server: "issues", kind: "remote", source: "An account that an administrator connects.", connection: { url: "https://mcp.example.com/mcp", auth: { type: "oauth" } }, secrets_set: [] };
const ours: Schemas["UpstreamAccount"] = { per: "tenant", state: "none", scopes: [] };
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/servers/{server}": () => new Reply(issues, { etag: '"s1"' }),
  "GET /tenants/{tenant}/servers/{server}/health": () => ({ status: "healthy" as const, failures: 0 }),
  "GET /tenants/{tenant}/servers/{server}/offer": () => ({ discovers: true, awaited: false }),
  "GET /tenants/{tenant}/servers/{server}/connection": () => new Reply(connection, { etag: '"c1"' }),
  "GET /tenants/{tenant}/connections": () => ({ data: [], has_more: false }),
  "GET /tenants/{tenant}/servers/{server}/account": () => ours,
};

test("to connect goes to the upstream, and only to what a browser goes to", async () => {
  const gone = vi.spyOn(location, "assign").mockImplementation(() => {});
  platform({ ...answers, "POST /tenants/{tenant}/servers/{server}/account/authorization": () => ({ url: "https://login.example.com/authorize?x=1", expires_at: "2026-02-01T00:15:00Z" }) });
  open("/servers/issues?tab=connection");
  expect(await screen.findByText("Not connected")).toBeTruthy();
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Connect" }));
  await waitFor(() => expect(gone).toHaveBeenCalledWith("https://login.example.com/authorize?x=1"));
  expect(() => visit("javascript:alert(1)")).toThrow();
  gone.mockRestore();
});

test("an account that expired says why, and is disconnected after a question", async () => {
  const seen = platform({
    ...answers,
    "GET /tenants/{tenant}/servers/{server}/account": () => ({ ...ours, state: "expired" as const, failure: "It was revoked there.", issuer: "https://login.example.com", connected_by: "dana@acme.test", connected_at: "2026-01-01T00:00:00Z" }),
    "DELETE /tenants/{tenant}/servers/{server}/account": () => new Reply({}),
  });
  open("/servers/issues?tab=connection");
  expect(await screen.findByText("It was revoked there.", { exact: false })).toBeTruthy();
  expect(screen.getByRole("button", { name: "Connect again" })).toBeTruthy();
  await userEvent.click(screen.getByRole("button", { name: "Disconnect" }));
  await userEvent.click(within(await screen.findByRole("dialog")).getByRole("button", { name: "Disconnect" }));
  await waitFor(() => expect(seen.some((s) => s.method === "DELETE")).toBe(true));
});

test("where each person has their own, one is disconnected by name; who may only read cannot", async () => {
  const own: Answers = {
    ...answers,
    "GET /tenants/{tenant}/servers/{server}/account": () => ({ ...ours, per: "user" as const }),
    "GET /tenants/{tenant}/servers/{server}/accounts": () => ({ data: [{ ...ours, per: "user" as const, state: "connected" as const, member: "fred@acme.test", connected_at: "2026-01-01T00:00:00Z" }] }),
    "DELETE /tenants/{tenant}/servers/{server}/accounts/{member}": () => new Reply({}),
  };
  const seen = platform(own);
  const first = open("/servers/issues?tab=connection");
  await userEvent.click(await screen.findByRole("button", { name: "Disconnect fred@acme.test" }));
  await userEvent.click(within(await screen.findByRole("dialog")).getByRole("button", { name: "Disconnect" }));
  await waitFor(() => expect(seen.find((s) => s.method === "DELETE")?.params.member).toBe("fred@acme.test"));
  first.unmount();
  platform({ ...own, "GET /me": () => ({ ...dana, permissions: ["servers:read"] }) });
  open("/servers/issues?tab=connection");
  expect(await screen.findByText("fred@acme.test")).toBeTruthy();
  expect(screen.queryByRole("button", { name: /Disconnect/ })).toBeNull();
  await accessible();
});

test("a connection is changed with what Vault has kept only where nothing else changes", async () => {
  const bearer = { ...connection, connection: { url: "https://mcp.example.com/mcp", transport: "auto", auth: { type: "bearer", token: { secret: "[set]" } } }, secrets_set: ["auth.token"] };
  const seen = platform({
    ...answers,
    "GET /tenants/{tenant}/servers/{server}/connection": () => new Reply(bearer, { etag: '"c1"' }),
    "PUT /tenants/{tenant}/servers/{server}/connection": () => new Reply(bearer, { etag: '"c2"' }),
  });
  open("/servers/issues?tab=connection");
  await userEvent.click(await screen.findByRole("button", { name: "Change the connection" }));
  expect((await screen.findByLabelText("Token") as HTMLInputElement).value).toBe("");
  expect((screen.getByRole("button", { name: "Save" }) as HTMLButtonElement).disabled).toBe(true);
  fireEvent.change(screen.getByLabelText("Token"), { target: { value: "new" } });
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Save" }));
  await waitFor(() => expect(seen.find((s) => s.method === "PUT")?.body).toEqual({ connection: { ...bearer.connection, auth: { type: "bearer", token: { secret: "new" } } } }));
  expect(seen.find((s) => s.method === "PUT")!.headers.get("If-Match")).toBe('"c1"');
});
