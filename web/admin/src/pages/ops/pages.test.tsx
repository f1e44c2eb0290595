import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeAll, expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, Reply, type Answers } from "~/testing/platform";

// What the server writes into the index page decides which console it is, and is read once.
let accessible: typeof import("~/testing/render").accessible;
let open: typeof import("~/testing/render").open;
beforeAll(async () => {
  const meta = document.createElement("meta");
  meta.name = "latchkey";
  meta.content = JSON.stringify({ mode: "ops", console: "", api: "/api/v1" });
  document.head.append(meta);
  ({ accessible, open } = await import("~/testing/render"));
});

const use = { limit: 20, used: 3 };
const acme: Schemas["Tenant"] = { id: "tn1", slug: "acme", name: "Acme Corp", suspended: false, created_at: "2025-01-01T00:00:00Z", base_url: "http://x/t/acme", issuer: "http://x/t/acme", quotas: { servers: use, members: use, roles: use, api_keys: use } };
const operation = (state: Schemas["OperationState"]): Schemas["Operation"] => ({ id: `op${"a".repeat(18)}`, kind: "delete_tenant", target: "acme", state, created_by: "olga@latchkey.test", created_at: "2025-01-01T00:00:00Z" });

const answers: Answers = {
  "GET /me": () => ({ kind: "operator", id: "op1", name: "Olga Operator", email: "olga@latchkey.test", permissions: [] }),
  "GET /tenants": () => ({ data: [acme], has_more: false }),
  "GET /tenants/{tenant}": () => new Reply(acme, { etag: '"t1"' }),
};

test("a tenant is made with its quotas and first admin, whose link is shown once", async () => {
  const seen = platform({
    ...answers,
    "POST /tenants": () => new Reply({ tenant: { ...acme, slug: "hooli-inc", name: "Hooli Inc" }, invitation: { url: "https://x/invitation/abc", invitation: { id: "iv1", email: "gavin@hooli.test", name: "", roles: [], status: "pending", created_by: "", created_at: "2025-01-01T00:00:00Z", expires_at: "2025-01-08T00:00:00Z" } } }, { status: 201 }),
  });
  open("/tenants");
  await userEvent.click((await screen.findAllByRole("button", { name: "New tenant" }))[0]!);
  const dialog = await screen.findByRole("dialog", { name: "New tenant" });
  await userEvent.type(within(dialog).getByLabelText("Name"), "Hooli Inc");
  await userEvent.type(within(dialog).getByLabelText("Address"), "gavin@hooli.test");
  await userEvent.click(within(dialog).getByLabelText(/Send the invitation/));
  await userEvent.type(within(dialog).getByLabelText("Servers"), "5");
  await accessible();
  await userEvent.click(within(dialog).getByRole("button", { name: "Make the tenant" }));
  expect((await within(dialog).findByTestId("secret")).textContent).toBe("https://x/invitation/abc");
  expect(seen.find((s) => s.method === "POST")!.body).toEqual({ name: "Hooli Inc", slug: "hooli-inc", quotas: { servers: 5 }, admin: { email: "gavin@hooli.test", send: false } });
});

test("suspending says what stops; deleting is typed, and followed to its end", async () => {
  let polls = 0;
  const seen = platform({
    ...answers,
    "DELETE /tenants/{tenant}": ({ query }) => (query.get("dry_run") === "true" ? { dry_run: true, effects: [{ what: "people", count: 20 }] } : operation("queued")),
    "GET /operations/{operation}": () => operation(++polls > 1 ? "done" : "running"),
  });
  open("/tenants/acme");
  await userEvent.click(await screen.findByRole("button", { name: "Actions" }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Suspend" }));
  expect((await screen.findByRole("dialog")).textContent).toContain("every client's next call is refused");
  await userEvent.click(screen.getByRole("button", { name: "Cancel" }));
  await userEvent.click(screen.getByRole("button", { name: "Actions" }));
  await userEvent.click(await screen.findByRole("menuitem", { name: "Delete" }));
  const dialog = await screen.findByRole("dialog", { name: "Delete Acme Corp" });
  await within(dialog).findByText(/people/);
  await accessible();
  await userEvent.type(within(dialog).getByLabelText(/Type/), "acme");
  await userEvent.click(within(dialog).getByRole("button", { name: "Delete the tenant" }));
  expect(await screen.findByText("acme is deleted")).toBeTruthy();
  expect(seen.findLast((s) => s.method === "DELETE")!.headers.get("If-Match")).toBe('"t1"');
});

test("a failed check says what was found, what is needed and what to do", async () => {
  platform({
    ...answers,
    "GET /health": () => ({ ok: false, checks: [{ name: "Postgres", ok: true, found: "16.4", latency_ms: 1 }, { name: "Workers", ok: false, found: "none", required: "one for each pool", fix: "Start one.", latency_ms: 0 }] }),
    "GET /audit/verification": () => ({ ok: false, writers: 1, records: 10, gaps: [{ writer: "edge-1", after: 5, before: 8, missing: 2 }], open_intents: 0 }),
  });
  open("/health");
  expect(await screen.findByText("1 check failed: Workers.")).toBeTruthy();
  expect(screen.getByText("Start one.", { exact: false })).toBeTruthy();
  expect(await screen.findByText(/2 records missing/)).toBeTruthy();
  await accessible();
});

test("workers, operators and mail are there, without anything axe finds", async () => {
  platform({
    ...answers,
    "GET /workers": () => ({ data: [{ name: "host-1", pool: "default", slots: 8, busy: 8, version: "v1", last_seen_at: new Date().toISOString() }] }),
    "GET /operators": () => ({ data: [{ email: "olga@latchkey.test", name: "Olga", disabled: false, has_password: true, created_at: "2025-01-01T00:00:00Z" }] }),
    "GET /operator-keys": () => ({ data: [], has_more: false }),
    "GET /mailbox": () => ({ development: true, data: [{ at: "2025-01-01T00:00:00Z", to: "new@acme.test", subject: "You are invited", text: "Open http://x/invitation/a1" }] }),
  });
  const { router } = open("/workers");
  expect(await screen.findByText("no slot free")).toBeTruthy();
  await accessible();
  await router.navigate({ to: "/operators" });
  expect(await screen.findByRole("button", { name: "Remove olga@latchkey.test" })).toBeTruthy();
  await accessible();
  await router.navigate({ to: "/mail" });
  await waitFor(() => expect(screen.getByRole("link", { name: "http://x/invitation/a1" })).toBeTruthy());
  await accessible();
});

test("the whole platform is switched off only when it was typed, and a banner says so everywhere", async () => {
  let off: Schemas["PlatformSwitch"] = { on: false };
  const seen = platform({
    ...answers,
    "GET /switch": () => off,
    "PUT /switch": ({ body }) => (off = { on: true, by: "olga@latchkey.test", created_at: new Date().toISOString(), ...(body as Schemas["SwitchPut"]) }),
    "DELETE /switch": () => { off = { on: false }; return new Reply(null) as never; },
  });
  const { router } = open("/switch");
  await userEvent.click(await screen.findByRole("button", { name: "Switch off…" }));
  const dialog = await screen.findByRole("dialog", { name: "Switch off the whole platform" });
  const button = within(dialog).getByRole("button", { name: "Switch everything off" }) as HTMLButtonElement;
  fireEvent.change(within(dialog).getByLabelText(/^Reason/), { target: { value: "Vault is being restored" } });
  expect(button.disabled).toBe(true);
  fireEvent.change(within(dialog).getByLabelText(/^Type/), { target: { value: "switch off everything" } });
  await accessible();
  await userEvent.click(button);
  await waitFor(() => expect(seen.find((s) => s.method === "PUT")?.body).toEqual({ reason: "Vault is being restored", cancel_running: false }));
  expect((await screen.findByRole("complementary", { name: "Switched off" })).textContent).toContain("Vault is being restored");
  await router.navigate({ to: "/tenants" });
  expect(await screen.findByRole("complementary", { name: "Switched off" })).toBeTruthy();
  await router.navigate({ to: "/switch" });
  await userEvent.click(await screen.findByRole("button", { name: "Lift the switch" }));
  await userEvent.click(await screen.findByRole("button", { name: "Let calls through" }));
  await waitFor(() => expect(screen.queryByRole("complementary", { name: "Switched off" })).toBeNull());
});
