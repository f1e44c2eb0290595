import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";

const key: Schemas["APIKey"] = { id: `ak${"a".repeat(18)}`, name: "ci deploy", hint: "lk_live_ab3…9x2k", permissions: ["servers:write"], created_by: "dana@acme.test", created_at: "2025-01-01T00:00:00Z", expires_at: "2099-01-01T00:00:00Z" };
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/api-keys": () => ({ data: [key], has_more: false }),
  "POST /tenants/{tenant}/api-keys": ({ body }) => new Reply({ key: { ...key, ...(body as object) }, secret: "lk_live_secret" }, { status: 201 }),
};

test("a key is shown once, with examples that do not hold it", async () => {
  const seen = platform(answers);
  open("/api-keys");
  await userEvent.click((await screen.findAllByRole("button", { name: "New key" }))[0]!);
  const dialog = await screen.findByRole("dialog", { name: "New API key" });
  await userEvent.click(within(dialog).getByRole("button", { name: "Make the key" }));
  expect(within(dialog).getByText("Choose at least one thing it may do")).toBeTruthy();
  await userEvent.type(within(dialog).getByLabelText("Name"), "nightly export");
  await userEvent.click(within(dialog).getByLabelText("See: Audit"));
  await accessible();
  await userEvent.click(within(dialog).getByRole("button", { name: "Make the key" }));
  expect((await within(dialog).findByTestId("secret")).textContent).toBe("lk_live_secret");
  expect(within(dialog).getByRole("region", { name: "A request with the key" }).textContent).not.toContain("lk_live_secret");
  expect(seen.find((s) => s.method === "POST")!.body).toEqual({ name: "nightly export", permissions: ["audit:read"], expires_in_days: 90 });
  await accessible();
});

test("nobody is offered a right they do not hold", async () => {
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: ["keys:write", "audit:read"] }) });
  open("/api-keys");
  await userEvent.click((await screen.findAllByRole("button", { name: "New key" }))[0]!);
  const dialog = await screen.findByRole("dialog");
  expect((within(dialog).getByLabelText("See: Audit") as HTMLInputElement).disabled).toBe(false);
  expect((within(dialog).getByLabelText("Change: Servers") as HTMLInputElement).disabled).toBe(true);
  expect((within(dialog).getByLabelText(/Everything/) as HTMLInputElement).disabled).toBe(true);
});
