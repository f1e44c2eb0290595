import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";

const orders: Schemas["Connection"] = {
  server: "orders", kind: "sql", source: "Vault makes database users on db.acme.test, for 10 minutes.", secrets_set: ["admin.password"],
  connection: { host: "db.acme.test", port: 5432, database: "shop", sslmode: "verify-full", admin: { username: "acme_vault", password: { secret: "[set]" } }, groups: { read: ["acme_reader"] } },
};
/** Only the list says when a connection was used. */
const used = { ...orders, last_issued_at: "2025-01-01T00:00:00Z", last_failed_at: "2025-01-02T00:00:00Z", last_failure: "db.acme.test does not answer." };
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/connections": () => ({ data: [used], has_more: false }),
  "GET /tenants/{tenant}/servers/{server}/connection": () => new Reply(orders, { etag: '"c1"' }),
};

test("a failing connection says so, and why", async () => {
  platform(answers);
  open("/credentials?server=orders");
  expect(await screen.findByText("The last credential could not be issued")).toBeTruthy();
  expect(screen.getAllByText("Failing").length).toBeGreaterThan(0);
  await accessible();
});

test("another host needs the password again; a refused login stands at its field", async () => {
  const seen = platform({
    ...answers,
    "PUT /tenants/{tenant}/servers/{server}/connection": () => problem(422, "upstream_unavailable", "Vault could not log in.", { errors: [{ pointer: "/connection/admin/password", detail: "the database refuses it" }] }),
  });
  open("/credentials?server=orders");
  const drawer = await screen.findByRole("dialog");
  await userEvent.click(await within(drawer).findByRole("button", { name: "Change the connection" }));
  expect(within(drawer).getByText("Nothing is changed yet.")).toBeTruthy();
  await userEvent.type(within(drawer).getByLabelText("Host"), "2");
  expect(within(drawer).getByText(/Needed again, as something else has changed/)).toBeTruthy();
  await userEvent.click(within(drawer).getByRole("button", { name: "Try and save" }));
  expect(within(drawer).getByText(/so write the password again/)).toBeTruthy();
  expect(seen.some((s) => s.method === "PUT")).toBe(false);
  await userEvent.type(within(drawer).getByLabelText("Password"), "hunter2");
  await accessible();
  await userEvent.click(within(drawer).getByRole("button", { name: "Try and save" }));
  expect(await within(drawer).findByText("The database refuses it.")).toBeTruthy();
  const put = seen.find((s) => s.method === "PUT")!;
  expect(put.headers.get("If-Match")).toBe('"c1"');
  expect((put.body as { connection: { admin: unknown } }).connection.admin).toEqual({ username: "acme_vault", password: { secret: "hunter2" } });
});
