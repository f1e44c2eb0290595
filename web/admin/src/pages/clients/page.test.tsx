import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { identity } from "./client";

const claude: Schemas["Client"] = { id: "cl1", kind: "registered", name: "Claude", redirect_hosts: ["evil.example"], redirect_uris: ["https://evil.example/cb"], created_at: "2025-01-01T00:00:00Z", grants: 2 };
const grant: Schemas["Grant"] = { id: `gr${"a".repeat(18)}`, member: "fred@acme.test", client: "cl1", client_name: "Claude", server: "orders", scopes: ["orders:read"], status: "active", created_at: "2025-01-01T00:00:00Z" };
const none = { data: [], has_more: false };

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/clients": () => ({ data: [claude], has_more: false }),
  "GET /tenants/{tenant}/clients/{client}": () => claude,
  "GET /tenants/{tenant}/grants": () => ({ data: [grant], has_more: false }),
  "GET /tenants/{tenant}/members": () => none,
  "GET /tenants/{tenant}/servers": () => none,
};

test("a name that an app gave itself is marked, one with a host behind it too", () => {
  expect(identity({ kind: "registered", id: "cl1" })).toMatchObject({ label: "name not verified", verified: false });
  expect(identity({ kind: "document", id: "https://vscode.dev/oauth/metadata.json" })).toMatchObject({ label: "by vscode.dev", verified: true });
});

test("an app's drawer warns of its name, and deleting it says what goes", async () => {
  const seen = platform({ ...answers, "DELETE /tenants/{tenant}/clients/{client}": ({ query }) => ({ dry_run: query.get("dry_run") === "true", effects: [{ what: "grants are revoked", count: 2 }] }) });
  open("/clients?authorized=no&client=cl1");
  const drawer = await screen.findByRole("dialog", { name: "App" });
  expect(await within(drawer).findByText(/Anybody can register under any name/)).toBeTruthy();
  await accessible();
  await userEvent.click(within(drawer).getByRole("button", { name: "Delete" }));
  const dialog = await screen.findByRole("dialog", { name: "Delete Claude" });
  await within(dialog).findByText(/grants are revoked/);
  await userEvent.click(within(dialog).getByRole("button", { name: "Delete the app" }));
  await waitFor(() => expect(seen.filter((s) => s.method === "DELETE").map((s) => s.query.get("dry_run"))).toEqual(["true", "false"]));
  expect(seen.find((s) => s.path.endsWith("/clients"))!.query.get("authorized")).toBe("false");
});

test("a grant is revoked with its reason, after saying what happens", async () => {
  const seen = platform({ ...answers, "DELETE /tenants/{tenant}/grants/{grant}": () => new Reply(null) as never });
  open("/clients?tab=grants&member=fred@acme.test&status=active");
  await userEvent.click(await screen.findByRole("button", { name: "Revoke what fred@acme.test gave Claude" }));
  const dialog = await screen.findByRole("dialog", { name: "Revoke Claude" });
  expect(dialog.textContent).toContain("refused within a second");
  await accessible();
  await userEvent.type(within(dialog).getByLabelText("Reason"), "Left the company");
  await userEvent.click(within(dialog).getByRole("button", { name: "Revoke" }));
  await waitFor(() => expect(seen.find((s) => s.method === "DELETE")?.query.get("reason")).toBe("Left the company"));
  expect(Object.fromEntries(seen.find((s) => s.path.endsWith("/grants"))!.query)).toMatchObject({ member: "fred@acme.test", status: "active" });
});
