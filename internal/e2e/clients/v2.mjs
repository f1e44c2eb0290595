// Plays an agent on the TypeScript SDK v2, in the era that is asked for. It
// says each thing that it does on a line of standard output, as JSON, and asks
// for a browser in the same way.
import http from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, endpoint, order, reason, era] = process.argv;
const from = createRequire(modules + "/package.json");
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = await import(
  pathToFileURL(from.resolve("@modelcontextprotocol/client").replace(/index\.cjs$/, "index.mjs")).href
);

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
  clientMetadata: { client_name: "SDK v2 " + era, redirect_uris: [redirect], token_endpoint_auth_method: "none", grant_types: ["authorization_code", "refresh_token"], response_types: ["code"] },
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
  saveDiscoveryState: (s) => { kept.discovery = s; },
  discoveryState: () => kept.discovery,
  invalidateCredentials: (what) => {
    if (what === "all" || what === "tokens") delete kept.tokens;
    if (what === "all" || what === "client") delete kept.client;
  },
};

let client, transport;
async function connect() {
  client = new Client({ name: "e2e-v2", version: "1" }, {
    capabilities: {},
    versionNegotiation: { mode: era === "modern" ? { pin: "2026-07-28" } : era },
  });
  transport = new StreamableHTTPClientTransport(new URL(endpoint), { authProvider: provider });
  await client.connect(transport);
}

// causes lists an error and what it came from: the SDK wraps what happens
// while it finds out which era a server is of.
function* causes(err) {
  for (let e = err, n = 0; e && n < 5; e = e.cause ?? e.data?.cause, n++) yield e;
}

async function signedIn(f) {
  for (let tries = 0; ; tries++) {
    try {
      return await f();
    } catch (err) {
      if (![...causes(err)].some((e) => e instanceof UnauthorizedError) || tries === 2) throw err;
      const q = await answer;
      if (q.has("error")) { say({ step: "denied", error: q.get("error") }); throw err; }
      await transport.finishAuth(q);
      await connect();
    }
  }
}

try {
  await signedIn(connect);
  say({ step: "connected", text: client.getNegotiatedProtocolVersion?.() ?? "" });
  const { tools } = await client.listTools();
  say({ step: "tools", names: tools.map((t) => t.name) });
  const found = await client.callTool({ name: "search_orders", arguments: { query: "", status: "paid", limit: 5 } });
  say({ step: "search", rows: found.structuredContent?.rows?.length ?? -1, error: found.isError === true });
  const refund = await signedIn(() => client.callTool({ name: "issue_refund", arguments: { order_id: Number(order), amount: 0.07, reason } }));
  say({ step: "refund", error: refund.isError === true, text: refund.content?.[0]?.text });
  await connect(); // a list may be kept for a while
  const more = await client.listTools();
  say({ step: "tools", names: more.tools.map((t) => t.name) });
} catch (err) {
  say({ step: "failed", text: String(err?.stack ?? err) + " " + JSON.stringify(err?.data ?? null) + " " + String(err?.cause?.stack ?? "") });
  process.exitCode = 1;
}
process.exit(); // a session before may have its stream open
