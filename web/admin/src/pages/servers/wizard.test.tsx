import { fireEvent, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import { platform, problem, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { page, revision, server, tool } from "./servers.fixture";

const kinds = {
  data: [
    { name: "sql", title: "PostgreSQL", description: "Statements.", has_connection: true, template: "tools: []\n" },
    { name: "echo", title: "Echo", description: "Says it again.", has_connection: false, template: "tools:\n- name: echo\n" },
  ],
};
const draft = server("hello", { kind: "echo", status: "draft", active_revision: undefined, latest_revision: 1, connection: undefined });

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/kinds": () => kinds,
  "GET /tenants/{tenant}/roles": () => page({ name: "admin", description: "", scopes: [], permissions: [], members: 1 }, { name: "viewer", description: "", scopes: [], permissions: [], members: 3 }),
  "GET /tenants/{tenant}/servers/{server}/revisions/{revision}": () => revision(1, { tools: [tool("echo", { scope: "diagnostics" })], scopes: ["diagnostics"] }),
  "POST /tenants/{tenant}/servers/{server}/check": ({ body }) =>
    (body as { spec_yaml: string }).spec_yaml.includes("bad")
      ? { ok: false, problems: [{ pointer: "/tools/0/risk", detail: "is not known", fix: "write read", line: 3 }], tools: [], scopes: [] }
      : { ok: true, problems: [], tools: [tool("echo", { scope: "diagnostics" })], scopes: ["diagnostics"] },
  "PUT /tenants/{tenant}/servers/{server}": () => draft,
  "POST /tenants/{tenant}/servers/{server}/revisions/{revision}/publish": () => revision(1, { active: true }),
  "PATCH /tenants/{tenant}/access": () => ({ roles: [], scopes: [], open: [] }),
};

test("from nothing to a served server that a role opens", async () => {
  const seen = platform(answers);
  open("/add-server");
  await userEvent.click(await screen.findByRole("radio", { name: /Echo/ }));
  await userEvent.click(screen.getByRole("button", { name: "Next" }));
  expect(await screen.findByText("People see it when they connect")).toBeTruthy();
  await userEvent.type(screen.getByLabelText("Title"), "Hello");
  expect((screen.getByLabelText("Slug") as HTMLInputElement).value).toBe("hello");
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Next" }));

  const editor = await screen.findByRole("textbox", { name: "Spec in YAML" });
  expect((editor as HTMLTextAreaElement).value).toBe("tools:\n- name: echo\n");
  fireEvent.change(editor, { target: { value: "tools:\n- name: echo\n  risk: bad\n" } });
  expect(await screen.findByText("Line 3:")).toBeTruthy();
  expect((screen.getByRole("button", { name: "Save the draft" }) as HTMLButtonElement).disabled).toBe(true);
  await accessible();
  fireEvent.change(editor, { target: { value: "tools:\n- name: echo\n  risk: read\n" } });
  await screen.findByText("1 tool, 1 scope");
  await userEvent.click(screen.getByRole("button", { name: "Save the draft" }));

  await userEvent.click(await screen.findByRole("button", { name: "Next" }));
  await userEvent.click(await screen.findByRole("checkbox", { name: "viewer opens diagnostics" }));
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Publish and open 1 scope" }));
  expect(await screen.findByText("hello is served")).toBeTruthy();

  expect(seen.find((s) => s.method === "PUT")!.body).toMatchObject({ kind: "echo", title: "Hello", publish: false });
  expect(seen.find((s) => s.method === "PUT")!.body).not.toHaveProperty("connection");
  expect(seen.find((s) => s.method === "PATCH")!.body).toEqual({ changes: [{ role: "viewer", server: "hello", scope: "diagnostics", open: true }] });
  const order = seen.filter((s) => s.method !== "GET" && !s.path.endsWith("/check")).map((s) => s.method);
  expect(order).toEqual(["PUT", "POST", "PATCH"]);
});

test("a connection that does not work leads back to its fields", async () => {
  platform({ ...answers, "PUT /tenants/{tenant}/servers/{server}": () => problem(422, "invalid_spec", "Vault cannot connect.", { errors: [{ pointer: "/connection/host", detail: "does not answer" }] }) });
  open("/add-server");
  await userEvent.type(await screen.findByLabelText("Title"), "Stock");
  await userEvent.click(screen.getByRole("button", { name: "Next" }));
  await userEvent.click(await screen.findByRole("button", { name: "Next" }));
  expect(await screen.findByText("Write a name or an address")).toBeTruthy();
  for (const [label, value] of [["Host", "db"], ["Database", "shop"], ["Account", "vault"], ["Password", "x"]] as const) await userEvent.type(screen.getByLabelText(label), value);
  await userEvent.type(screen.getAllByLabelText("Roles for reading")[0]!, "reader{Enter}");
  await userEvent.click(screen.getByRole("button", { name: "Next" }));
  await waitFor(() => expect((screen.getByRole("button", { name: "Save the draft" }) as HTMLButtonElement).disabled).toBe(false));
  await userEvent.click(screen.getByRole("button", { name: "Save the draft" }));
  expect(await screen.findByText("Does not answer.")).toBeTruthy();
  expect((screen.getByLabelText("Host") as HTMLInputElement).value).toBe("db");
});
