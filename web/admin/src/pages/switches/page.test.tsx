import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { targetOf } from "~/safety/switch-off";
import { parts, targets } from "~/safety/targets";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";

const off = (target: string, kind: Schemas["Switch"]["kind"], more: Partial<Schemas["Switch"]> = {}): Schemas["Switch"] => ({
  target, kind, name: "", on: true, reason: "It opens a ticket for every log line.", by: "dana@acme.test", by_role: "admin", created_at: "2026-01-01T00:00:00Z", cancel_running: false, ...more,
});
const page = <T,>(...data: T[]) => ({ data, has_more: false });
const on: Schemas["Switch"][] = [off("tool:incidents/create_ticket", "tool", { name: "Open a ticket", expires_at: new Date(Date.now() + 3_600_000).toISOString() })];

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/switches": ({ query }) => (query.get("on") === "true" ? page(...on) : page(off("server:crm", "server", { on: false, lifted_by: "olaf@acme.test", lifted_at: "2026-01-02T00:00:00Z" }))),
  "GET /tenants/{tenant}/servers": () => page(),
  "GET /tenants/{tenant}/tools": () => page(),
  "GET /tenants/{tenant}/members": () => page(),
  "GET /tenants/{tenant}/clients": () => page(),
};
const change = (label: string | RegExp, value: string, root: HTMLElement) => fireEvent.change(within(root).getByLabelText(label), { target: { value } });

test("a target is read as it is written", () => {
  for (const target of [targets.tenant, targets.server("orders"), targets.tool("orders", "a/b"), targets.member("x:y@acme.test"), targets.client("https://vscode.dev/a")]) {
    const { kind, server, tool, rest } = parts(target);
    expect(targetOf(kind, { server, tool, member: rest, client: rest })).toBe(target);
  }
  expect(targetOf("tool", { server: "orders" })).toBeUndefined();
});

test("what is off stands first with its reason and time, what was off below; lifting asks first", async () => {
  const seen = platform({ ...answers, "DELETE /tenants/{tenant}/switches/{target}": () => new Reply(null) as never });
  open("/switches");
  const now = await screen.findByRole("list", { name: "Switched off now" });
  expect(now.textContent).toContain("It opens a ticket for every log line.");
  expect(now.textContent).toMatch(/min .* left|1 h left/);
  expect(await screen.findByText("by olaf@acme.test")).toBeTruthy();
  await accessible();
  await userEvent.click(within(now).getByRole("button", { name: "Lift the switch of Open a ticket" }));
  await userEvent.click(await screen.findByRole("button", { name: "Let calls through" }));
  await waitFor(() => expect(seen.find((s) => s.method === "DELETE")?.params.target).toBe("tool:incidents/create_ticket"));
});

test("everything is switched off only when the tenant's name was typed, and a reason given", async () => {
  const seen = platform({ ...answers, "PUT /tenants/{tenant}/switches/{target}": () => off("tenant", "tenant") });
  open("/switches");
  await userEvent.click(await screen.findByRole("button", { name: "Switch off…" }));
  const dialog = await screen.findByRole("dialog", { name: "Switch off" });
  expect((within(dialog).getByRole("button", { name: "Switch off" }) as HTMLButtonElement).disabled).toBe(true);
  await userEvent.click(within(dialog).getByRole("radio", { name: "Everything" }));
  const button = within(dialog).getByRole("button", { name: "Switch everything off" }) as HTMLButtonElement;
  expect(button.disabled).toBe(true);
  change(/^Type/, "acme", dialog);
  await userEvent.click(button);
  expect(await within(dialog).findByText("Say why, in at least 3 characters")).toBeTruthy();
  change(/^Reason/, "A leaked grant is used", dialog);
  await userEvent.click(within(dialog).getByRole("radio", { name: "1 hour" }));
  await userEvent.click(within(dialog).getByRole("switch", { name: /^Also cancel calls that run now/ }));
  await accessible();
  await userEvent.click(button);
  await waitFor(() => expect(seen.some((s) => s.method === "PUT")).toBe(true));
  const put = seen.find((s) => s.method === "PUT")!;
  const sent = put.body as Schemas["SwitchPut"];
  expect([put.params.target, sent.reason, sent.cancel_running]).toEqual(["tenant", "A leaked grant is used", true]);
  expect(Math.abs(Date.parse(sent.expires_at!) - Date.now() - 3_600_000)).toBeLessThan(60_000);
});

test("a refusal keeps the dialog open with what was written", async () => {
  platform({ ...answers, "PUT /tenants/{tenant}/switches/{target}": () => problem(404, "not_found", "There is no such server.") });
  open("/switches");
  await userEvent.click(await screen.findByRole("button", { name: "Switch off…" }));
  const dialog = await screen.findByRole("dialog", { name: "Switch off" });
  await userEvent.click(within(dialog).getByRole("radio", { name: "Server" }));
  const server = within(dialog).getByPlaceholderText("Its slug");
  fireEvent.change(server, { target: { value: "gone" } });
  fireEvent.blur(server);
  change(/^Reason/, "Broken", dialog);
  await userEvent.click(within(dialog).getByRole("button", { name: "Switch off" }));
  expect(await within(dialog).findByText("There is no such server.")).toBeTruthy();
  expect((within(dialog).getByLabelText(/^Reason/) as HTMLTextAreaElement).value).toBe("Broken");
});

test("nothing off is said so, and who may only look changes nothing", async () => {
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: ["switches:read"] }), "GET /tenants/{tenant}/switches": () => page() });
  open("/switches");
  expect(await screen.findByText("Nothing is switched off.")).toBeTruthy();
  expect(await screen.findByText("Nothing was switched off before")).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Switch off…" })).toBeNull();
});

test("who may not see it is told the permission, and a failure can be tried again", async () => {
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: ["tenant:read"] }) });
  const first = open("/switches");
  expect(await screen.findByText("switches:read")).toBeTruthy();
  first.unmount();
  platform({ ...answers, "GET /tenants/{tenant}/switches": () => problem(503, "platform_store_unavailable", "Wait a moment.") });
  open("/switches");
  expect((await screen.findAllByText("Wait a moment.")).length).toBeGreaterThan(0);
});

test("while everything is off, every page says so", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/switches": () => page(off("tenant", "tenant", { reason: "A leaked grant." })), "GET /tenants/{tenant}/deprecations": () => ({ data: [] }) });
  open("/deprecations");
  const banner = await screen.findByRole("complementary", { name: "Switched off" });
  expect(banner.textContent).toContain("A leaked grant.");
  expect(banner.textContent).toContain("It stays until somebody lifts it.");
});
