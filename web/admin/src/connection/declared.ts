import type { Declared } from "./sql";

/** Connections of kinds whose form is a table of fields: what is asked for, and where it stands in what is declared. */
export interface Field {
  /** Where it stands in the declared connection, dotted. */
  path: string;
  label: string;
  description?: string;
  kind: "text" | "secret" | "choice" | "list" | "pairs" | "secrets" | "flag";
  options?: readonly { value: string; label: string }[];
  start?: Value;
  /** Said where it is empty and may not be. */
  needed?: string;
  /** Only with these values of another field, such as the type of authentication. */
  when?: { path: string; is: readonly string[] };
  group: "place" | "login" | "process";
}

export interface Pair {
  id: number;
  name: string;
  value: string;
}
export type Value = string | boolean | readonly string[] | readonly Pair[];
export type Values = Record<string, Value>;

const login = (...is: string[]) => ({ when: { path: "auth.type", is }, group: "login" }) as const;

const http: Field[] = [
  { path: "base_url", label: "Address of the API", description: "Such as https://api.example.com/v1", kind: "text", needed: "Write the API's address, such as https://api.example.com/v1", group: "place" },
  { path: "plain_http", label: "Allow http:// to a service of a private network", kind: "flag", group: "place" },
  { path: "headers", label: "Headers that go with each request", description: "What is no secret, such as X-Region", kind: "pairs", group: "place" },
  {
    path: "auth.type", label: "How to log in", kind: "choice", start: "bearer", group: "login",
    options: [{ value: "none", label: "Not at all" }, { value: "bearer", label: "Bearer token" }, { value: "api_key", label: "API key" }, { value: "basic", label: "Name and password" }, { value: "oauth_client_credentials", label: "OAuth client credentials" }],
  },
  { path: "auth.token", label: "Token", kind: "secret", ...login("bearer") },
  { path: "auth.in", label: "The key goes into", kind: "choice", start: "header", options: [{ value: "header", label: "a header" }, { value: "query", label: "the query" }], ...login("api_key") },
  { path: "auth.name", label: "Name of the header or parameter", kind: "text", start: "X-API-Key", needed: "Name it, such as X-API-Key", ...login("api_key") },
  { path: "auth.key", label: "Key", kind: "secret", ...login("api_key") },
  { path: "auth.username", label: "Name", kind: "text", needed: "Write the name to log in with", ...login("basic") },
  { path: "auth.password", label: "Password", kind: "secret", ...login("basic") },
  { path: "auth.token_url", label: "Token address", description: "Where the authorization server gives tokens", kind: "text", needed: "Write the address that gives tokens", ...login("oauth_client_credentials") },
  { path: "auth.client_id", label: "Client id", kind: "text", needed: "Write the client's id", ...login("oauth_client_credentials") },
  { path: "auth.client_secret", label: "Client secret", kind: "secret", ...login("oauth_client_credentials") },
  { path: "auth.scope", label: "Scope to ask for", description: "Empty: what the client has", kind: "text", ...login("oauth_client_credentials") },
];

const remote: Field[] = [
  { path: "url", label: "Address of the MCP server", description: "Such as https://mcp.example.com/mcp", kind: "text", needed: "Write the server's address, such as https://mcp.example.com/mcp", group: "place" },
  { path: "transport", label: "Transport", kind: "choice", start: "auto", options: [{ value: "auto", label: "Find out" }, { value: "streamable", label: "Streamable HTTP" }, { value: "sse", label: "HTTP with SSE, of before 2025" }], group: "place" },
  { path: "headers", label: "Headers that go with each request", description: "What is no secret, such as X-Region", kind: "pairs", group: "place" },
  {
    path: "auth.type", label: "How to log in", kind: "choice", start: "none", group: "login",
    options: [{ value: "none", label: "Not at all" }, { value: "bearer", label: "Bearer token" }, { value: "header", label: "A secret in a header of another name" }, { value: "oauth", label: "OAuth: an account that somebody connects" }],
  },
  { path: "auth.token", label: "Token", kind: "secret", ...login("bearer") },
  { path: "auth.header", label: "Header", kind: "text", start: "X-Api-Key", needed: "Name the header, such as X-Api-Key", ...login("header") },
  { path: "auth.value", label: "Value", kind: "secret", ...login("header") },
  { path: "auth.per", label: "Whose account", kind: "choice", start: "tenant", options: [{ value: "tenant", label: "One of ours, that an administrator connects" }, { value: "user", label: "Each person's own" }], ...login("oauth") },
  { path: "auth.scopes", label: "Scopes to ask for", description: "Enter after each; empty: what the server names", kind: "list", ...login("oauth") },
  { path: "auth.client_id", label: "Client id", description: "Only where the server takes no registration", kind: "text", ...login("oauth") },
  { path: "auth.client_secret", label: "Client secret", description: "If there is one", kind: "secret", ...login("oauth") },
  { path: "auth.issuer", label: "Authorization server", description: "Only where it cannot be found out", kind: "text", ...login("oauth") },
];

const stdio: Field[] = [
  { path: "secrets", label: "Secret variables", description: "The process gets them when it starts, from Vault", kind: "secrets", group: "process" },
  { path: "egress", label: "Where it may connect to", description: "Such as api.example.com:443; Enter after each. Nothing else can be reached", kind: "list", group: "process" },
];

/** Kinds with a form of fields. `sql` has one of its own. */
export const fieldsOf: Record<string, readonly Field[]> = { http, remote, stdio };

/** Kinds whose upstream says what they offer. */
export const discovers = new Set(["remote", "stdio"]);

export const shown = (fields: readonly Field[], values: Values) => fields.filter((f) => !f.when || f.when.is.includes(String(values[f.when.path])));

let ids = 0;
export const pair = (name = "", value = ""): Pair => ({ id: ++ids, name, value });

const isObject = (value: unknown): value is Declared => typeof value === "object" && value !== null && !Array.isArray(value);
const isSecret = (value: unknown) => isObject(value) && Object.keys(value).length === 1 && ["secret", "env", "file"].includes(Object.keys(value)[0]!);
const empty = (kind: Field["kind"]): Value => (kind === "flag" ? false : kind === "list" || kind === "pairs" || kind === "secrets" ? [] : "");

function dig(declared: Declared | undefined, path: string): unknown {
  return path.split(".").reduce<unknown>((at, key) => (isObject(at) ? at[key] : undefined), declared);
}

/** What a form has of a declared connection; a secret is never in it. */
export function read(fields: readonly Field[], declared: Declared | undefined): Values {
  return Object.fromEntries(fields.map((f) => {
    const found = dig(declared, f.path);
    if (f.kind === "secret") return [f.path, isObject(found) && typeof found.secret === "string" && found.secret !== kept ? found.secret : ""];
    if (found === undefined) return [f.path, f.start ?? empty(f.kind)];
    if (f.kind === "flag") return [f.path, found === true];
    if (f.kind === "list") return [f.path, Array.isArray(found) ? found.map(String) : []];
    if (f.kind === "pairs" || f.kind === "secrets") {
      const entries = Object.entries(isObject(found) ? found : {}).filter(([, v]) => f.kind === "secrets" || !isSecret(v));
      return [f.path, entries.map(([name, v]) => pair(name, f.kind === "pairs" ? String(v) : isObject(v) && typeof v.secret === "string" && v.secret !== kept ? v.secret : ""))];
    }
    return [f.path, String(found)];
  }));
}

const kept = "[set]";

/** The connection to declare. What a form does not have goes along as it was; an empty secret keeps what Vault has. */
export function declare(fields: readonly Field[], values: Values, before: Declared = {}): Declared {
  const out = structuredClone(before);
  const visible = new Set(shown(fields, values).map((f) => f.path));
  for (const f of fields) {
    const value = values[f.path] ?? empty(f.kind);
    const was = dig(before, f.path);
    put(out, f.path, visible.has(f.path) ? valueOf(f, value, was) : undefined);
  }
  return out;
}

function valueOf(f: Field, value: Value, was: unknown): unknown {
  if (f.kind === "secret") return value !== "" ? { secret: String(value) } : was === undefined ? undefined : { secret: kept };
  if (f.kind === "flag") return value === true || was !== undefined ? value : undefined;
  if (f.kind === "list") return (value as string[]).length > 0 ? value : undefined;
  if (f.kind === "pairs" || f.kind === "secrets") {
    const secretHeaders = f.kind === "pairs" && isObject(was) ? Object.entries(was).filter(([, v]) => isSecret(v)) : [];
    const all = (value as Pair[]).filter((p) => p.name.trim() !== "").map((p) => [p.name.trim(), f.kind === "pairs" ? p.value : { secret: p.value || kept }] as const);
    return all.length + secretHeaders.length > 0 ? Object.fromEntries([...secretHeaders, ...all]) : undefined;
  }
  const text = String(value).trim();
  return text === "" ? undefined : text;
}

function put(out: Declared, path: string, value: unknown) {
  const keys = path.split(".");
  const last = keys.pop()!;
  let at = out;
  for (const key of keys) {
    if (!isObject(at[key])) {
      if (value === undefined) return;
      at[key] = {};
    }
    at = at[key] as Declared;
  }
  if (value === undefined) delete at[last];
  else at[last] = value;
}

/** What is missing, by field. `set` are secrets that Vault has, which it keeps while nothing else changes. */
export function problemsOf(fields: readonly Field[], values: Values, set: readonly string[] = []): Record<string, string> {
  const out: Record<string, string> = {};
  for (const f of shown(fields, values)) {
    const value = values[f.path];
    if (f.needed && String(value ?? "").trim() === "") out[f.path] = f.needed;
    if (f.kind === "secret" && value === "" && !set.includes(f.path) && f.path !== "auth.client_secret") out[f.path] = "It is needed; Vault keeps it";
    if (f.kind === "secrets" && (value as Pair[]).some((p) => p.name.trim() !== "" && p.value === "" && !set.includes(`${f.path}.${p.name.trim()}`))) out[f.path] = "Each variable needs its value";
    if ((f.kind === "secrets" || f.kind === "pairs") && (value as Pair[]).some((p) => p.name.trim() === "" && p.value !== "")) out[f.path] = "Each needs a name";
  }
  return out;
}
