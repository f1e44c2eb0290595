import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";

const vic: Schemas["Member"] = { id: "us4", email: "vic@acme.test", name: "Vic Viewer", roles: ["viewer"], disabled: false, has_password: true, created_at: "2025-01-01T00:00:00Z", grants: 1 };
const role = (name: string, permissions: Schemas["Permission"][] = []): Schemas["Role"] => ({ name, description: "", scopes: [], permissions, members: 1 });
const invitation: Schemas["Invitation"] = { id: `iv${"a".repeat(18)}`, email: "new@acme.test", name: "New", roles: ["viewer"], status: "pending", created_by: "dana@acme.test", created_at: "2025-01-01T00:00:00Z", expires_at: "2099-01-01T00:00:00Z", mailed: true };
const grant: Schemas["Grant"] = { id: `gr${"a".repeat(18)}`, member: vic.email, client: "cl1", client_name: "Claude", server: "orders", redirect_host: "claude.ai", scopes: ["orders:read"], status: "active", created_at: "2025-01-01T00:00:00Z" };

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/members": () => ({ data: [vic], has_more: false }),
  "GET /tenants/{tenant}/roles": () => ({ data: [role("viewer"), role("finance"), role("boss", ["admin"])], has_more: false }),
  "GET /tenants/{tenant}/members/{member}": () => new Reply(vic, { etag: '"m1"' }),
  "PUT /tenants/{tenant}/members/{member}": ({ body }) => new Reply({ ...vic, ...(body as object) }, { etag: '"m2"' }),
  "GET /tenants/{tenant}/members/{member}/access": () => ({ member: vic, permissions: [], servers: [{ server: "orders", title: "Orders", closed_tools: [], scopes: [{ scope: "orders:read", roles: ["viewer"], tools: [{ name: "search_orders", title: "Search orders", risk: "read" }] }] }] }),
  "GET /tenants/{tenant}/grants": () => ({ data: [grant], has_more: false }),
  "GET /tenants/{tenant}/invitations": () => ({ data: [invitation], has_more: false }),
};

test("people are listed by the filters of the URL", async () => {
  const seen = platform(answers);
  open("/people?role=viewer&status=active");
  expect(await screen.findByRole("link", { name: "Vic Viewer" })).toBeTruthy();
  const asked = seen.find((s) => s.path.endsWith("/members") && s.query.get("limit") === "50")!;
  expect(Object.fromEntries(asked.query)).toMatchObject({ role: "viewer", status: "active" });
  await accessible();
});

test("roles change where they stand, with the tag of a fresh read", async () => {
  const seen = platform(answers);
  open("/people");
  await userEvent.click(await screen.findByRole("button", { name: "Change the roles of vic@acme.test" }));
  await userEvent.click(await screen.findByRole("combobox", { name: "Roles" }));
  // The filter above has options of the same names; the last list is the open one.
  await userEvent.click((await screen.findAllByRole("option", { name: "finance", hidden: true })).at(-1)!);
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Save roles" }));
  await waitFor(() => expect(seen.find((s) => s.method === "PUT")).toBeTruthy());
  const put = seen.find((s) => s.method === "PUT")!;
  expect(put.headers.get("If-Match")).toBe('"m1"');
  expect(put.body).toEqual({ name: "Vic Viewer", roles: ["viewer", "finance"], disabled: false });
});

test("each invited address has its own result, and a link is shown once", async () => {
  const seen = platform({
    ...answers,
    "POST /tenants/{tenant}/invitations": ({ body }) => {
      const { email } = body as { email: string };
      return email === "bad@acme.test" ? problem(422, "invalid_request", "This address cannot be invited.") : new Reply({ invitation: { ...invitation, email }, url: `https://x/invitation/${email}` }, { status: 201 });
    },
  });
  open("/people");
  await userEvent.click((await screen.findAllByRole("button", { name: "Invite people" }))[0]!);
  await userEvent.type(await screen.findByLabelText("Addresses"), "a@acme.test, bad@acme.test");
  await userEvent.click(screen.getByLabelText(/Show it to me, once/));
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Invite 2 people" }));
  expect(await screen.findByText("https://x/invitation/a@acme.test")).toBeTruthy();
  expect(screen.getByText(/bad@acme.test was not invited/)).toBeTruthy();
  expect(seen.filter((s) => s.method === "POST").map((s) => [(s.body as { send: boolean }).send, s.headers.has("Idempotency-Key")])).toEqual([[false, true], [false, true]]);
  await accessible();
});

test("a person's page says what they can call, and removing them what goes along", async () => {
  const seen = platform({ ...answers, "DELETE /tenants/{tenant}/members/{member}": ({ query }) => ({ dry_run: query.get("dry_run") === "true", effects: [{ what: "grants to apps end", count: 2 }] }) });
  const { router } = open("/people/vic@acme.test");
  expect(await screen.findByText("opened by viewer")).toBeTruthy();
  expect(await screen.findByRole("button", { name: "Revoke what vic@acme.test gave Claude" })).toBeTruthy();
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Actions" }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Remove" }));
  const dialog = await screen.findByRole("dialog", { name: "Remove vic@acme.test" });
  expect(await within(dialog).findByText(/grants to apps end/)).toBeTruthy();
  await accessible();
  await userEvent.type(within(dialog).getByLabelText(/Type/), "vic@acme.test");
  await userEvent.click(within(dialog).getByRole("button", { name: "Remove" }));
  await waitFor(() => expect(router.state.location.pathname).toBe("/people"));
  expect(seen.findLast((s) => s.method === "DELETE")!.headers.get("If-Match")).toBe('"m1"');
});

test("somebody else's change is told apart from a mistake", async () => {
  platform({ ...answers, "PUT /tenants/{tenant}/members/{member}": () => problem(412, "stale", "Read it again.") });
  open("/people/vic@acme.test");
  const name = await screen.findByLabelText("Name");
  await userEvent.type(name, "!");
  await userEvent.click(screen.getByRole("button", { name: "Save" }));
  expect(await screen.findByText("Somebody changed this meanwhile")).toBeTruthy();
});

test("who may only read sees people and nothing to change them with", async () => {
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: ["members:read"] }) });
  open("/people");
  expect(await screen.findByRole("link", { name: "Vic Viewer" })).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Invite people" })).toBeNull();
  expect(screen.queryByRole("button", { name: /Change the roles/ })).toBeNull();
});

test("invitations can be renewed and revoked", async () => {
  const seen = platform({ ...answers, "POST /tenants/{tenant}/invitations/{invitation}/resend": () => ({ invitation, url: "https://x/invitation/new" }) });
  open("/people?tab=invitations&invited=pending");
  await userEvent.click(await screen.findByRole("button", { name: "Actions for the invitation of new@acme.test" }));
  await accessible();
  await userEvent.click(await screen.findByRole("menuitem", { name: "New link, by mail" }));
  expect(await screen.findByText("https://x/invitation/new")).toBeTruthy();
  expect(seen.find((s) => s.path.endsWith("/invitations"))!.query.get("status")).toBe("pending");
});
