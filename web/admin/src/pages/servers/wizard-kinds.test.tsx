import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { fill } from "./import";
import { page, revision, server, tool } from "./servers.fixture";

const kinds = {
  data: [
    { name: "remote", title: "Remote MCP", description: "Another MCP server.", has_connection: true, template: "include: ['*']\n" },
    { name: "http", title: "HTTP API", description: "An API.", has_connection: true, template: "tools: []\n" },
    { name: "stdio", title: "Package", description: "A package.", has_connection: true, template: "package: {}\n" },
  ],
};
const offer: Schemas["OfferSummary"] = { hash: "a".repeat(64), name: "Issues", version: "2.1.0", protocol: "2025-11-25", tools: 1, resources: 0, prompts: 0 };
const draft = server("issues", { kind: "remote", status: "draft", active_revision: undefined, latest_revision: undefined, discovering: true });
const found = server("issues", { kind: "remote", status: "draft", active_revision: undefined, latest_revision: 1, discovering: false });
const works: Schemas["LiveCheck"] = { ok: true, latency_ms: 310, offer, tools: [tool("search", { scope: "issues:read" })], scopes: ["issues:read"], problems: [], findings: [] };

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/kinds": () => kinds,
  "GET /tenants/{tenant}/roles": () => page({ name: "viewer", description: "", scopes: [], permissions: [], members: 3 }),
  "GET /tenants/{tenant}/servers/{server}": () => new Reply(found, { etag: '"s1"' }),
  "GET /tenants/{tenant}/servers/{server}/offer": () => ({ discovers: true, awaited: true }),
  "POST /tenants/{tenant}/servers/{server}/discovery": () => ({ seen: "first" as const, latency_ms: 12, offer, published: false, revision: 2 }),
  "GET /tenants/{tenant}/servers/{server}/health": () => ({ status: "unknown" as const, failures: 0 }),
  "GET /tenants/{tenant}/servers/{server}/revisions/{revision}": ({ params }) => revision(Number(params.revision), { tools: [tool("search", { scope: "issues:read" })], scopes: ["issues:read"] }),
  "POST /tenants/{tenant}/servers/{server}/check": () => ({ ok: true, problems: [], tools: [], scopes: [] }),
  "POST /tenants/{tenant}/servers/{server}/live-check": () => works,
  "PUT /tenants/{tenant}/servers/{server}": () => draft,
  "POST /tenants/{tenant}/servers/{server}/revisions/{revision}/publish": () => revision(1, { active: true }),
  "PATCH /tenants/{tenant}/access": () => ({ roles: [], scopes: [], open: [] }),
};

const press = async (name: string) => userEvent.click(await screen.findByRole("button", { name }));
const type = async (label: string, text: string) => fireEvent.change(await screen.findByLabelText(label), { target: { value: text } });
const choose = async (label: string, option: string) => {
  await userEvent.click(await screen.findByRole("combobox", { name: label }));
  await userEvent.click(await screen.findByRole("option", { name: option }));
};

async function toLive(url = "https://mcp.example.com/mcp") {
  open("/add-server");
  await type("Title", "Issues");
  await press("Next");
  await type("Address of the MCP server", url);
  await choose("How to log in", "Bearer token");
  await press("Next");
  expect(await screen.findByText("It is needed; Vault keeps it")).toBeTruthy();
  await accessible();
  await type("Token", "s3cret");
  await press("Next");
  expect(await screen.findByText("Nothing stands against it")).toBeTruthy();
  await press("Try it live");
}

test("a remote server is tried, saved, discovered and served, and its secret is sent as one", async () => {
  const seen = platform(answers);
  await toLive();
  expect(await screen.findByText("It answers, in 310 ms")).toBeTruthy();
  expect(screen.getByText("Issues 2.1.0")).toBeTruthy();
  await accessible();
  await press("Save the draft");
  expect(await screen.findByText("It has said what it offers")).toBeTruthy();
  expect(await screen.findByText("issues:read")).toBeTruthy();
  await accessible();
  await press("Next");
  await press("Next");
  await userEvent.click(await screen.findByRole("checkbox", { name: "viewer opens issues:read" }));
  await press("Publish and open 1 scope");
  expect(await screen.findByText("issues is served")).toBeTruthy();

  const connection = { url: "https://mcp.example.com/mcp", transport: "auto", auth: { type: "bearer", token: { secret: "s3cret" } } };
  // What was discovered is another revision than the draft.
  expect(seen.some((s) => s.path.endsWith("/revisions/2/publish"))).toBe(true);
  expect(seen.find((s) => s.path.endsWith("/live-check"))!.body).toEqual({ kind: "remote", spec_yaml: "include: ['*']\n", connection });
  expect(seen.find((s) => s.method === "PUT")!.body).toMatchObject({ kind: "remote", publish: false, connection });
});

test("what does not work is said with what to do, leads back to the connection, and is saved only on purpose", async () => {
  platform({ ...answers, "POST /tenants/{tenant}/servers/{server}/live-check": () => ({ ok: false, problems: [], tools: [], scopes: [], failure: { code: "credentials_unavailable", message: "The server refused the token (401)." } }) });
  await toLive();
  expect(await screen.findByText("The server refused the token (401).")).toBeTruthy();
  expect(screen.getByText("Look at the token, key or password, and at how it is sent.", { exact: false })).toBeTruthy();
  expect(screen.getByRole("button", { name: "Save the draft all the same" })).toBeTruthy();
  await accessible();
  await press("Change the connection");
  expect((await screen.findByLabelText("Address of the MCP server") as HTMLInputElement).value).toBe("https://mcp.example.com/mcp");
});

test("what the platform says of a connection stands beside its field", async () => {
  platform({ ...answers, "PUT /tenants/{tenant}/servers/{server}": () => problem(422, "invalid_spec", "It cannot be saved.", { errors: [{ pointer: "/connection/url", detail: "is not encrypted", fix: "write https://" }] }) });
  await toLive("http://mcp.example.com/mcp");
  await press("Save the draft");
  expect(await screen.findByText("Is not encrypted. Write https://.")).toBeTruthy();
});

test("a server whose account nobody has connected is saved first, and leads to where that is done", async () => {
  const seen = platform({ ...answers, "GET /tenants/{tenant}/servers/{server}/connection": () => new Reply({ server: "issues", kind: "remote", connection: {}, secrets_set: [] }, { etag: '"c1"' }) });
  const { router } = open("/add-server");
  await type("Title", "Issues");
  await press("Next");
  await type("Address of the MCP server", "https://mcp.example.com/mcp");
  await choose("How to log in", "OAuth: an account that somebody connects");
  await press("Next");
  await screen.findByText("Nothing stands against it");
  await press("Try it live");
  expect(await screen.findByText("It needs an account first")).toBeTruthy();
  await press("Save the draft");
  await waitFor(() => expect(router.state.location.href).toContain("/servers/issues?tab=connection"));
  expect(seen.some((s) => s.path.endsWith("/live-check"))).toBe(false);
});

const operation = (method: string, path: string, more: Partial<Schemas["OpenAPIOperation"]> = {}): Schemas["OpenAPIOperation"] => ({ operation: `${method} ${path}`, method, path, tags: [], deprecated: false, tool: path.slice(1), risk: "read", problems: [], notes: [], ...more });

test("operations of a document become a spec and a connection to go on with", async () => {
  const head = { title: "Shop", version: "1", openapi: "3.1.0", servers: [], security: [], total: 2, matched: 2 };
  const seen = platform({
    ...answers,
    "POST /tenants/{tenant}/openapi/inspect": ({ body }) => {
      const { search, operations } = body as Schemas["OpenAPIInspect"];
      const all = [operation("GET", "/orders", { summary: "List orders" }), operation("POST", "/upload", { risk: "write", problems: ["It takes multipart/form-data."] })];
      return {
        ...head, operations: all.filter((o) => !search || o.path.includes(search)),
        ...(operations && { proposal: { spec: { openapi: { document: { openapi: "3.1.0" }, operations: [{ operation: "GET /orders", risk: "read" }] } }, connection: { base_url: "https://shop.test", auth: { type: "bearer", token: { secret: "" } } }, notes: ["GET /orders: its answer is untyped"] } }),
      };
    },
  });
  open("/add-server");
  await userEvent.click(await screen.findByRole("radio", { name: /HTTP API/ }));
  await type("Title", "Shop");
  await press("Next");
  await type("OpenAPI document", "openapi: 3.1.0");
  await accessible();
  await press("Read the document");
  await userEvent.click(await screen.findByRole("checkbox", { name: "Choose GET /orders" }));
  expect((screen.getByRole("checkbox", { name: "Choose POST /upload" }) as HTMLInputElement).disabled).toBe(true);
  await accessible();
  await userEvent.type(screen.getByLabelText("Search operations"), "upload");
  await waitFor(() => expect(screen.queryByRole("checkbox", { name: "Choose GET /orders" })).toBeNull());
  await press("Make 1 tool");
  expect((await screen.findByLabelText("Address of the API") as HTMLInputElement).value).toBe("https://shop.test");
  await type("Token", "s3cret");
  await press("Next");
  expect((await screen.findByRole("textbox", { name: "Spec in YAML" }) as HTMLTextAreaElement).value).toBe('openapi:\n  document: {"openapi":"3.1.0"}\n  operations:\n  - operation: GET /orders\n    risk: read\n');
  expect(screen.getByText("GET /orders: its answer is untyped")).toBeTruthy();
  expect(seen.findLast((s) => s.path.endsWith("/inspect"))!.body).toMatchObject({ operations: ["GET /orders"] });
});

const missing = { name: "TOKEN", where: "/connection/secrets/TOKEN", secret: true, description: "Of your account." };

test("a server.json becomes what the steps begin with, and what it does not say is asked for", async () => {
  const seen = platform({
    ...answers,
    "POST /tenants/{tenant}/server-imports": () => ({
      slug: "notes", complete: false, notes: ["It runs here, in a sandbox."], missing: [missing],
      server: { kind: "stdio", title: "Notes", connection: { secrets: { TOKEN: { env: "NOTES_TOKEN" } } }, spec: { package: { npm: "@example/notes@1.0.0" } }, publish: false, allow_breaking: false },
    }),
  });
  open("/add-server");
  await press("Import a server.json");
  const dialog = await screen.findByRole("dialog", { name: "Import a server.json" });
  fireEvent.change(within(dialog).getByLabelText("server.json"), { target: { value: "{no" } });
  await userEvent.click(within(dialog).getByRole("button", { name: "Read it" }));
  expect(await within(dialog).findByText(/This is no JSON/)).toBeTruthy();
  fireEvent.change(within(dialog).getByLabelText("server.json"), { target: { value: '{"name":"io.example/notes"}' } });
  await userEvent.click(within(dialog).getByRole("button", { name: "Read it" }));
  fireEvent.change(await within(dialog).findByLabelText("TOKEN"), { target: { value: "s3cret" } });
  await accessible();
  await userEvent.click(within(dialog).getByRole("button", { name: "Go on with this" }));
  expect((await screen.findByLabelText("Secret variables: name 1") as HTMLInputElement).value).toBe("TOKEN");
  expect((screen.getByLabelText("Secret variables: value 1") as HTMLInputElement).value).toBe("s3cret");
  await press("Next");
  expect((await screen.findByRole("textbox", { name: "Spec in YAML" }) as HTMLTextAreaElement).value).toBe('package:\n  npm: "@example/notes@1.0.0"\n');
  expect(seen.find((s) => s.path.endsWith("/server-imports"))!.body).toEqual({ server_json: { name: "io.example/notes" } });
});

test("what was missing goes into its hole, and only there", () => {
  const proposal = { kind: "remote", connection: { url: "https://{region}.example.com/{team}" }, publish: false, allow_breaking: false } as Schemas["ServerPut"];
  const all = [{ name: "region", where: "/connection/url", secret: false }, { name: "team", where: "/connection/url", secret: false }, { name: "X", where: "/connection/auth/token", secret: true }];
  expect(fill(proposal, all, { "/connection/url region": "eu", "/connection/auth/token X": "s" }).connection).toEqual({ url: "https://eu.example.com/{team}", auth: { token: { secret: "s" } } });
  expect(proposal.connection).toEqual({ url: "https://{region}.example.com/{team}" });
});

test("an upstream that does not say what it offers is asked again", async () => {
  let tries = 0;
  platform({ ...answers, "POST /tenants/{tenant}/servers/{server}/discovery": () => (++tries === 1 ? problem(503, "upstream_unavailable", "It cannot be reached.") : { seen: "first" as const, latency_ms: 12, offer, published: false, revision: 2 }) });
  await toLive();
  await press("Save the draft");
  expect(await screen.findByText("It cannot be reached.")).toBeTruthy();
  expect((screen.getByRole("button", { name: "Next" }) as HTMLButtonElement).disabled).toBe(true);
  await press("Ask again");
  expect(await screen.findByText("It has said what it offers")).toBeTruthy();
});
