import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { changed } from "./edit";

const refund: Schemas["Tool"] = {
  server: "orders", name: "issue_refund", title: "Issue a refund", description: "Pays back.", scope: "refunds:write", risk: "destructive", timeout_ms: 10_000, idempotent: false, roles: ["finance"], published: true, revision: 3,
  input_schema: { type: "object", properties: { amount: { type: "number", description: "In euros." } } },
};
const none = { data: [], has_more: false };
const staged = (published: boolean): Schemas["RevisionStaged"] => ({ published, diff: { same: false, changes: [{ verb: "changed", what: "tool", name: "issue_refund", fields: [{ field: "title", before: "Issue a refund", after: "Refund" }] }] } });

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/tools": ({ query }) => ({ data: query.get("risk") === "read" ? [] : [refund], has_more: false }),
  "GET /tenants/{tenant}/servers": () => none,
  "GET /tenants/{tenant}/roles": () => none,
  "GET /tenants/{tenant}/scopes": () => none,
  "GET /tenants/{tenant}/servers/{server}/tools/{tool}": () => new Reply(refund, { etag: '"t1"' }),
};

test("filters are the API's and stand in the URL", async () => {
  const seen = platform(answers);
  open("/tools?risk=destructive&scope=refunds:write");
  expect(await screen.findByRole("link", { name: "Issue a refund" })).toBeTruthy();
  expect(Object.fromEntries(seen.find((s) => s.path.endsWith("/tools"))!.query)).toEqual({ risk: "destructive", scope: "refunds:write", limit: "100" });
  await accessible();
});

test("no match is not the same as no tools", async () => {
  platform(answers);
  open("/tools?risk=read");
  expect(await screen.findByText("No tool matches")).toBeTruthy();
});

test("an edit sends what differs, shows what would change, and only then publishes", async () => {
  const seen = platform({ ...answers, "PATCH /tenants/{tenant}/servers/{server}/tools/{tool}": ({ query, body }) => staged(query.get("dry_run") !== "true" && (body as { publish: boolean }).publish) });
  open("/tools/orders/issue_refund");
  await screen.findByText("In euros.");
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Edit" }));
  const title = await screen.findByLabelText("Title");
  await userEvent.clear(title);
  await userEvent.type(title, "Refund");
  await userEvent.click(screen.getByRole("button", { name: "See what changes" }));
  expect(await screen.findByRole("list", { name: "Changes" })).toBeTruthy();
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Publish" }));
  await waitFor(() => expect(seen.filter((s) => s.method === "PATCH")).toHaveLength(2));
  const [look, save] = seen.filter((s) => s.method === "PATCH");
  expect([look!.query.get("dry_run"), look!.body]).toEqual(["true", { title: "Refund", publish: false }]);
  expect([save!.query.get("dry_run"), save!.body, save!.headers.get("If-Match")]).toEqual([null, { title: "Refund", publish: true }, '"t1"']);
});

test("who was slower is told so", async () => {
  platform({ ...answers, "PATCH /tenants/{tenant}/servers/{server}/tools/{tool}": () => problem(412, "conflict", "Read it again.") });
  open("/tools/orders/issue_refund");
  await userEvent.click(await screen.findByRole("button", { name: "Edit" }));
  await userEvent.type(await screen.findByLabelText("Title"), "!");
  await userEvent.click(screen.getByRole("button", { name: "See what changes" }));
  expect(await screen.findByText("Somebody changed this meanwhile")).toBeTruthy();
});

test("only what differs is sent", () => {
  expect(changed({ title: "Issue a refund", description: "Pays back.", scope: "refunds:write", risk: "write", timeout_ms: 9000 }, refund)).toEqual({ risk: "write", timeout_ms: 9000 });
});
