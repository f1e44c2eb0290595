import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";

const orders: Schemas["Connection"] = {
  server: "orders", kind: "sql", source: "Vault makes database users on db.acme.test, for 10 minutes.", secrets_set: ["admin.password"], last_issued_at: "2025-01-01T00:00:00Z", last_failed_at: "2025-01-02T00:00:00Z", last_failure: "db.acme.test does not answer.",
  connection: { host: "db.acme.test", port: 5432, database: "shop", sslmode: "verify-full", admin: { username: "acme_vault" }, groups: { read: ["acme_reader"] } },
};
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/connections": () => ({ data: [orders], has_more: false }),
  "GET /tenants/{tenant}/servers/{server}/connection": () => new Reply(orders, { etag: '"c1"' }),
};

test("a failing connection says so, and why", async () => {
  platform(answers);
  open("/credentials?server=orders");
  expect(await screen.findByText("The last credential could not be issued")).toBeTruthy();
  expect(screen.getAllByText("Failing").length).toBeGreaterThan(0);
  await accessible();
});

test("a refused login stands at its field, and nothing typed is sent but as a secret", async () => {
  const seen = platform({
    ...answers,
    "PUT /tenants/{tenant}/servers/{server}/connection": () => problem(422, "upstream_unavailable", "Vault could not log in.", { errors: [{ pointer: "/connection/admin/password", detail: "the database refuses it" }] }),
  });
  open("/credentials?server=orders");
  const drawer = await screen.findByRole("dialog");
  await userEvent.click(await within(drawer).findByRole("button", { name: "Change the connection" }));
  await userEvent.click(within(drawer).getByRole("button", { name: "Try and save" }));
  expect(within(drawer).getByText(/so write it again/)).toBeTruthy();
  await userEvent.type(within(drawer).getByLabelText("Its password"), "hunter2");
  await accessible();
  await userEvent.click(within(drawer).getByRole("button", { name: "Try and save" }));
  expect(await within(drawer).findByText("The database refuses it.")).toBeTruthy();
  const put = seen.find((s) => s.method === "PUT")!;
  expect(put.headers.get("If-Match")).toBe('"c1"');
  expect((put.body as { connection: { admin: unknown } }).connection.admin).toEqual({ username: "acme_vault", password: { secret: "hunter2" } });
});
