import { fireEvent, screen, waitFor, within } from "@testing-library/react";
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

const guarded: Schemas["Tool"] = { ...refund, version: 2, confirmed: true, safety: { approval: { role: "finance" }, version: 2 }, deprecated: { since: "2026-01-01", sunset: "2099-01-31", successor: "pay_back", gone: false } };
const breaking: Schemas["RevisionStaged"] = {
  published: false, findings: [{ tool: "issue_refund", level: "warning", code: "no_when", detail: "It does not say when to use it." }],
  diff: { same: false, class: "breaking", breaking: [{ tool: "issue_refund", field: "input_schema/properties/amount/maximum", detail: "The maximum went down.", fix: "Keep it." }], changes: [{ verb: "changed", what: "tool", name: "issue_refund" }] },
};

test("how a tool is kept safe is told in words, with what the defaults are and that it is going", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/servers/{server}/tools/{tool}": () => new Reply(guarded, { etag: '"t1"' }), "GET /tenants/{tenant}/switches": () => ({ data: [{ target: "server:orders", kind: "server", on: true, reason: "Moving.", by: "olaf@acme.test", by_role: "admin", created_at: "2026-01-01T00:00:00Z", cancel_running: false }], has_more: false }) });
  open("/tools/orders/issue_refund");
  expect(await screen.findByText(/Somebody else with the role finance decides every call/)).toBeTruthy();
  expect(screen.getByText(/answered with a dry run first/)).toBeTruthy();
  expect(screen.getByText("Deprecated; it ends on 31 Jan 2099")).toBeTruthy();
  expect(screen.getByRole("link", { name: "pay_back" })).toBeTruthy();
  expect(await screen.findByText("Switched off with its server")).toBeTruthy();
  await accessible();
});

test("safety is edited as JSON; what breaks is published only when it was typed", async () => {
  const seen = platform({ ...answers, "GET /tenants/{tenant}/servers/{server}/tools/{tool}": () => new Reply(guarded, { etag: '"t1"' }), "PATCH /tenants/{tenant}/servers/{server}/tools/{tool}": ({ query }) => (query.get("dry_run") === "true" ? breaking : { ...breaking, published: true }) });
  open("/tools/orders/issue_refund");
  await userEvent.click(await screen.findByRole("button", { name: "Edit safety" }));
  const text = (await screen.findByLabelText("Safety in JSON")) as HTMLTextAreaElement;
  fireEvent.change(text, { target: { value: "{" } });
  expect(await screen.findByText(/It is no JSON yet/)).toBeTruthy();
  fireEvent.change(text, { target: { value: '{"version": 2}' } });
  await userEvent.click(screen.getByRole("button", { name: "Add confirm" }));
  expect(JSON.parse(text.value)).toEqual({ version: 2, confirm: "always" });
  expect(screen.getByRole("region", { name: "What it would mean" }).textContent).toContain("Not needed.");
  await userEvent.click(screen.getByRole("button", { name: "See what changes" }));
  expect(await screen.findByText("1 change breaks who uses the tools")).toBeTruthy();
  expect(screen.getByText("It does not say when to use it.")).toBeTruthy();
  await accessible();
  const button = screen.getByRole("button", { name: "Publish although it breaks" }) as HTMLButtonElement;
  expect(button.disabled).toBe(true);
  fireEvent.change(screen.getByLabelText(/although it breaks who uses it, type/), { target: { value: "issue_refund" } });
  await userEvent.click(button);
  await waitFor(() => expect(seen.filter((s) => s.method === "PATCH")).toHaveLength(2));
  const [look, save] = seen.filter((s) => s.method === "PATCH");
  expect([look!.query.get("dry_run"), look!.body]).toEqual(["true", { safety: { confirm: "always", approval: null }, publish: false }]);
  expect([save!.body, save!.headers.get("If-Match")]).toEqual([{ safety: { confirm: "always", approval: null }, publish: true, allow_breaking: true }, '"t1"']);
});

test("a tool is switched off from its page, with a reason", async () => {
  const seen = platform({ ...answers, "PUT /tenants/{tenant}/switches/{target}": () => ({ target: "tool:orders/issue_refund", kind: "tool" as const, on: true, reason: "", by: "", by_role: "", created_at: "2026-01-01T00:00:00Z", cancel_running: false }) });
  open("/tools/orders/issue_refund");
  await userEvent.click(await screen.findByRole("button", { name: "Switch off" }));
  const dialog = await screen.findByRole("dialog", { name: "Switch off Issue a refund" });
  fireEvent.change(within(dialog).getByLabelText(/^Reason/), { target: { value: "It pays twice" } });
  await userEvent.click(within(dialog).getByRole("button", { name: "Switch off" }));
  await waitFor(() => expect(seen.find((s) => s.method === "PUT")?.body).toEqual({ reason: "It pays twice", cancel_running: false }));
  expect(seen.find((s) => s.method === "PUT")!.params.target).toBe("tool:orders/issue_refund");
});

test("only what differs is sent", () => {
  expect(changed({ title: "Issue a refund", description: "Pays back.", scope: "refunds:write", risk: "write", timeout_ms: 9000 }, refund)).toEqual({ risk: "write", timeout_ms: 9000 });
});
