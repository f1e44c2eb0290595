import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { diff, page, revision, server, summary, tool } from "./servers.fixture";

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/servers": () => page(server("orders"), server("stock", { status: "draft", active_revision: undefined })),
  "GET /tenants/{tenant}/servers/{server}": () => new Reply(server("orders"), { etag: '"s1"' }),
  "GET /tenants/{tenant}/servers/{server}/revisions": () => page(summary(4), summary(3), summary(2)),
  "GET /tenants/{tenant}/servers/{server}/revisions/{revision}": ({ params }) => revision(Number(params.revision)),
  "GET /tenants/{tenant}/servers/{server}/revisions/{revision}/diff": () => diff,
};

test("the list says what is served, staged and drafted, and is accessible", async () => {
  platform(answers);
  open("/servers");
  expect(await screen.findByRole("link", { name: "orders" })).toBeTruthy();
  expect(screen.getByText("Revision 4 staged")).toBeTruthy();
  expect(screen.getByText("2 servers")).toBeTruthy();
  expect(screen.getAllByRole("button", { name: /Copy the MCP URL/ })).toHaveLength(1);
  await accessible();
});

test("a list that does not load says so and is tried again", async () => {
  let broken = true;
  platform({ ...answers, "GET /tenants/{tenant}/servers": () => (broken ? problem(503, "platform_store_unavailable", "Wait a moment.") : page(server("orders"))) });
  open("/servers");
  expect(await screen.findByText("Wait a moment.")).toBeTruthy();
  broken = false;
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("link", { name: "orders" })).toBeTruthy();
});

test("the tools of a server say which roles open them, and of a draft nothing", async () => {
  const tools = [tool("search_orders", { roles: undefined }), tool("issue_refund", { roles: undefined })];
  const seen = platform({
    ...answers,
    "GET /tenants/{tenant}/servers/{server}": ({ params }) => new Reply(params.server === "stock" ? server("stock", { status: "draft", active_revision: undefined }) : server("orders"), { etag: '"s1"' }),
    "GET /tenants/{tenant}/servers/{server}/revisions/{revision}": () => revision(3, { tools }),
    "GET /tenants/{tenant}/tools": ({ query }) => (query.get("cursor") ? page(tool("issue_refund", { roles: [] })) : { ...page(tool("search_orders", { roles: ["admin", "finance"] })), has_more: true, next_cursor: "next" }),
  });
  const { unmount } = open("/servers/orders?tab=tools");
  expect(await screen.findByText("admin and finance")).toBeTruthy();
  expect(screen.getAllByText("no role")).toHaveLength(1);
  expect(seen.find((s) => s.path.endsWith("/tools"))!.query.get("server")).toBe("orders");
  unmount();
  open("/servers/stock?tab=tools");
  expect(await screen.findAllByText("search_orders")).not.toHaveLength(0);
  expect(screen.queryByText("no role")).toBeNull();
});

test("no revision is published before its difference was seen", async () => {
  const seen = platform({ ...answers, "POST /tenants/{tenant}/servers/{server}/revisions/{revision}/publish": () => revision(4, { active: true }) });
  open("/servers/orders?tab=revisions&revision=4");
  await userEvent.click(await screen.findByRole("button", { name: "Publish 4" }));
  const dialog = await screen.findByRole("dialog", { name: "Publish revision 4" });
  expect(await within(dialog).findByText("search_orders")).toBeTruthy();
  expect(within(dialog).getByText(/instead of revision 3/)).toBeTruthy();
  await userEvent.click(within(dialog).getByRole("button", { name: "Publish" }));
  await waitFor(() => expect(seen.some((s) => s.path.endsWith("/revisions/4/publish"))).toBe(true));
  expect(seen.find((s) => s.path.endsWith("/diff"))!.query.get("from")).toBe("3");
});

test("what breaks is not published before its slug was typed, and goes on record as that", async () => {
  const seen = platform({
    ...answers,
    "GET /tenants/{tenant}/servers/{server}/revisions/{revision}/diff": () => ({ ...diff, class: "breaking" as const, breaking: [{ tool: "search_orders", detail: "The tool is gone.", fix: "Deprecate it first." }] }),
    "POST /tenants/{tenant}/servers/{server}/revisions/{revision}/publish": () => revision(4, { active: true }),
  });
  open("/servers/orders?tab=revisions&revision=4");
  await userEvent.click(await screen.findByRole("button", { name: "Publish 4" }));
  const dialog = await screen.findByRole("dialog", { name: "Publish revision 4" });
  expect(await within(dialog).findByText("Deprecate it first.", { exact: false })).toBeTruthy();
  const button = (await within(dialog).findByRole("button", { name: "Publish although it breaks" })) as HTMLButtonElement;
  expect(button.disabled).toBe(true);
  await accessible();
  fireEvent.change(within(dialog).getByLabelText(/^Type/), { target: { value: "orders" } });
  await userEvent.click(button);
  await waitFor(() => expect(seen.find((s) => s.path.endsWith("/publish"))?.query.get("allow_breaking")).toBe("true"));
});

test("a publication that the platform refuses as breaking says so, and offers the other way", async () => {
  const seen = platform({ ...answers, "POST /tenants/{tenant}/servers/{server}/revisions/{revision}/publish": ({ query }) => (query.get("allow_breaking") ? revision(4, { active: true }) : problem(422, "breaking_change", "search_orders would break.")) });
  open("/servers/orders?tab=revisions&revision=4");
  await userEvent.click(await screen.findByRole("button", { name: "Publish 4" }));
  const dialog = await screen.findByRole("dialog", { name: "Publish revision 4" });
  await userEvent.click(await within(dialog).findByRole("button", { name: "Publish" }));
  expect(await within(dialog).findByText("search_orders would break.")).toBeTruthy();
  fireEvent.change(await within(dialog).findByLabelText(/^Type/), { target: { value: "orders" } });
  await userEvent.click(within(dialog).getByRole("button", { name: "Publish although it breaks" }));
  await waitFor(() => expect(seen.filter((s) => s.path.endsWith("/publish")).map((s) => s.query.get("allow_breaking"))).toEqual([null, "true"]));
});

test("an older revision is a way back", async () => {
  platform(answers);
  open("/servers/orders?tab=revisions&revision=2");
  expect(await screen.findByRole("button", { name: "Roll back to 2" })).toBeTruthy();
});

test("a deletion is typed, tagged, followed to its end, and leads back to the list", async () => {
  let asked = 0;
  const operation = (state: "running" | "done") => ({ id: "op000000000000000001", kind: "delete_server" as const, target: "orders", state, created_at: "2026-02-01T00:00:00Z", created_by: "dana" });
  const seen = platform({
    ...answers,
    "DELETE /tenants/{tenant}/servers/{server}": ({ query }) => (query.get("dry_run") === "true" ? { dry_run: true, effects: [{ what: "revisions", count: 4 }] } : new Reply(operation("running"), { status: 202 })),
    "GET /tenants/{tenant}/operations/{operation}": () => operation(++asked > 1 ? "done" : "running"),
  });
  const { router } = open("/servers/orders");
  await userEvent.click(await screen.findByRole("button", { name: "Delete the server" }));
  const dialog = await screen.findByRole("dialog", { name: "Delete the server orders" });
  await within(dialog).findByText("revisions", { exact: false });
  await userEvent.type(within(dialog).getByRole("textbox"), "orders");
  await userEvent.click(within(dialog).getByRole("button", { name: "Delete the server" }));
  expect(await screen.findByRole("dialog", { name: "Deleting orders" })).toBeTruthy();
  await waitFor(() => expect(router.state.location.pathname).toBe("/servers"));
  const sent = seen.findLast((s) => s.method === "DELETE")!;
  expect(sent.headers.get("If-Match")).toBe('"s1"');
});

test("trying a tool says what is missing before it calls, then shows the answer", async () => {
  const seen = platform({
    ...answers,
    "POST /tenants/{tenant}/servers/{server}/revisions/{revision}/try": () => ({ call_id: "ca1", is_error: false, text: "one order", structured: { rows: 1 }, latency_ms: 12, worker: "w1" }),
  });
  open("/servers/orders?tab=try");
  await userEvent.click(await screen.findByRole("button", { name: "Call search_orders" }));
  expect(await screen.findByText("The tool needs it")).toBeTruthy();
  expect(seen.some((s) => s.path.endsWith("/try"))).toBe(false);
  await userEvent.type(screen.getByRole("textbox", { name: /query/ }), "Miller");
  await userEvent.type(screen.getByRole("textbox", { name: /limit/ }), "5");
  await userEvent.click(screen.getByRole("button", { name: "Call search_orders" }));
  expect(await screen.findByText(/"rows": 1/)).toBeTruthy();
  expect(seen.at(-1)!.body).toEqual({ tool: "search_orders", arguments: { query: "Miller", limit: 5 } });
  await accessible();
});

test("what is wrong with a connection stands beside its field", async () => {
  platform({
    ...answers,
    "GET /tenants/{tenant}/servers/{server}/connection": () => new Reply({ server: "orders", kind: "sql", secrets_set: ["admin.password"], connection: { host: "db", port: 5432, database: "shop", sslmode: "require", admin: { username: "vault" }, groups: { read: ["reader"] } } }, { etag: '"c1"' }),
    "GET /tenants/{tenant}/connections": () => page({ server: "orders", kind: "sql", secrets_set: [], connection: {}, last_failed_at: "2026-02-02T00:00:00Z", last_issued_at: "2026-02-01T00:00:00Z", last_failure: "No answer." }),
    "PUT /tenants/{tenant}/servers/{server}/connection": () => problem(422, "upstream_unavailable", "Vault could not log in.", { errors: [{ pointer: "/connection/admin/password", detail: "the database refuses it" }] }),
  });
  open("/servers/orders?tab=connection");
  expect(await screen.findByText("The last credential could not be issued")).toBeTruthy();
  await userEvent.click(await screen.findByRole("button", { name: "Change the connection" }));
  await userEvent.type(await screen.findByLabelText("Password"), "wrong");
  await userEvent.click(screen.getByRole("button", { name: "Try and save" }));
  expect(await screen.findByText("The database refuses it.")).toBeTruthy();
  expect(screen.getByText("Vault could not log in.")).toBeTruthy();
  await accessible();
});

test("a server that is not there is no error", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/servers/{server}": () => problem(404, "not_found", "No.") });
  open("/servers/gone");
  expect(await screen.findByText("There is no such server")).toBeTruthy();
});
