// Plays an agent on the TypeScript SDK v1. It says each thing that it does on
// a line of standard output, as JSON, and asks for a browser in the same way.
import http from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, endpoint, order, reason] = process.argv;
const from = createRequire(modules + "/package.json");
const load = (name) => import(pathToFileURL(from.resolve(name)).href);
const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { UnauthorizedError } = await load("@modelcontextprotocol/sdk/client/auth.js");

const say = (o) => process.stdout.write(JSON.stringify(o) + "\n");

let arrived;
const listener = http.createServer((req, res) => {
  const q = new URL(req.url, "http://127.0.0.1").searchParams;
  res.end("back to the app");
  if (q.has("code") || q.has("error")) arrived(q);
});
await new Promise((ok) => listener.listen(0, "127.0.0.1", ok));
const redirect = `http://127.0.0.1:${listener.address().port}/callback`;

const kept = {};
let answer;
const provider = {
  redirectUrl: redirect,
  clientMetadata: { client_name: "SDK v1", redirect_uris: [redirect], token_endpoint_auth_method: "none", grant_types: ["authorization_code", "refresh_token"], response_types: ["code"] },
  clientInformation: () => kept.client,
  saveClientInformation: (c) => { kept.client = c; },
  tokens: () => kept.tokens,
  saveTokens: (t) => { kept.tokens = t; say({ step: "tokens", scope: t.scope, refresh: Boolean(t.refresh_token) }); },
  redirectToAuthorization: (url) => {
    answer = new Promise((ok) => { arrived = ok; });
    say({ step: "open", url: String(url) });
  },
  saveCodeVerifier: (v) => { kept.verifier = v; },
  codeVerifier: () => kept.verifier,
  invalidateCredentials: (what) => {
    if (what === "all" || what === "tokens") delete kept.tokens;
    if (what === "all" || what === "client") delete kept.client;
  },
};

let client, transport;
async function connect() {
  client = new Client({ name: "e2e-v1", version: "1" }, { capabilities: {} });
  transport = new StreamableHTTPClientTransport(new URL(endpoint), { authProvider: provider });
  await client.connect(transport);
}

// signedIn does what the SDK wants of an app: when it threw for want of a
// sign-in, finish that, and try again on a new transport.
async function signedIn(f) {
  for (let tries = 0; ; tries++) {
    try {
      return await f();
    } catch (err) {
      if (!(err instanceof UnauthorizedError) || tries === 2) throw err;
      const q = await answer;
      if (q.has("error")) { say({ step: "denied", error: q.get("error") }); throw err; }
      await transport.finishAuth(q.get("code"), q.get("iss") ?? undefined);
      await connect();
    }
  }
}

try {
  await signedIn(connect);
  const { tools } = await client.listTools();
  say({ step: "tools", names: tools.map((t) => t.name) });
  const found = await client.callTool({ name: "search_orders", arguments: { query: "", status: "paid", limit: 5 } });
  say({ step: "search", rows: found.structuredContent?.rows?.length ?? -1, error: found.isError === true });
  const refund = await signedIn(() => client.callTool({ name: "issue_refund", arguments: { order_id: Number(order), amount: 0.07, reason } }));
  say({ step: "refund", error: refund.isError === true, text: refund.content?.[0]?.text });
  const more = await client.listTools();
  say({ step: "tools", names: more.tools.map((t) => t.name) });
  await client.close();
} catch (err) {
  say({ step: "failed", text: String(err?.stack ?? err) });
  process.exitCode = 1;
}
process.exit(); // the session before the step-up may have its stream open
