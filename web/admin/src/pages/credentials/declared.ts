/** A connection as it is declared, read and written without knowing its kind. */
export type Declared = Record<string, unknown>;

export type FieldKind = "text" | "choice" | "number" | "flag" | "list" | "secret";
export interface Field {
  /** Dotted: `admin.username`. */
  path: string;
  kind: FieldKind;
  label: string;
  says?: string;
  /** Of a choice; without one, the platform takes the first. */
  options?: { value: string; label: string }[];
  needed?: boolean;
}
export type Values = Record<string, string | number | boolean | string[]>;

/** The fields of a connection to Postgres, also those that a declaration may leave out. */
const sql: Field[] = [
  { path: "host", kind: "text", label: "Host", says: "A name or an address, without a port", needed: true },
  { path: "port", kind: "number", label: "Port", says: "5432 unless you say otherwise" },
  { path: "database", kind: "text", label: "Database", needed: true },
  {
    path: "sslmode", kind: "choice", label: "Encryption",
    options: [
      { value: "verify-full", label: "verify-full: encrypted, certificate and name checked" },
      { value: "verify-ca", label: "verify-ca: encrypted, certificate checked" },
      { value: "require", label: "require: encrypted, nothing checked" },
      { value: "disable", label: "disable: only for the platform's own machine" },
    ],
  },
  { path: "sslrootcert", kind: "text", label: "Root certificate", says: "PEM, where the database's certificate is signed by an authority of your own" },
  { path: "admin.username", kind: "text", label: "Vault's account", says: "The account with which Vault makes database users", needed: true },
  { path: "admin.password", kind: "secret", label: "Its password", needed: true },
  { path: "groups.read", kind: "list", label: "Roles of reading tools", says: "Database roles whose rights they get", needed: true },
  { path: "groups.write", kind: "list", label: "Roles of writing tools", says: "Empty: nothing can be written" },
  { path: "replica.host", kind: "text", label: "Replica's host", says: "Reading tools go there" },
  { path: "replica.port", kind: "number", label: "Replica's port" },
  { path: "credentials.ttl", kind: "text", label: "A credential lives", says: "Such as 10m" },
  {
    path: "credentials.write", kind: "choice", label: "Writing tools",
    options: [{ value: "per_call", label: "A credential for each call" }, { value: "cached", label: "One credential for several calls" }],
  },
  { path: "credentials.connections", kind: "number", label: "Connections at once", says: "8 unless you say otherwise" },
  { path: "credentials.per_user", kind: "flag", label: "A database user for each person" },
];

/** What a form for this connection asks: the known fields of its kind, whatever else is declared, and its secrets. */
export function fieldsOf(kind: string, declared: Declared, secrets: readonly string[]): Field[] {
  const known = kind === "sql" ? sql : [];
  const seen = new Set(known.map((f) => f.path));
  const found = flatten(declared).filter((f) => !seen.has(f.path));
  for (const f of found) seen.add(f.path);
  const missing = secrets.filter((s) => !seen.has(s)).map((path) => ({ path, kind: "secret" as const, label: labelOf(path), needed: true }));
  return [...known, ...found, ...missing];
}

function flatten(value: Declared, prefix = ""): Field[] {
  return Object.entries(value).flatMap(([name, v]): Field[] => {
    const path = prefix + name;
    if (typeof v === "string") return [{ path, kind: "text", label: labelOf(path) }];
    if (typeof v === "number") return [{ path, kind: "number", label: labelOf(path) }];
    if (typeof v === "boolean") return [{ path, kind: "flag", label: labelOf(path) }];
    if (Array.isArray(v)) return v.every((item) => typeof item === "string") ? [{ path, kind: "list", label: labelOf(path) }] : [];
    return v && typeof v === "object" ? flatten(v as Declared, `${path}.`) : [];
  });
}

function labelOf(path: string): string {
  const words = path.replaceAll(/[._]/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function valuesOf(fields: readonly Field[], declared: Declared): Values {
  return Object.fromEntries(fields.map((f) => {
    const v = f.kind === "secret" ? undefined : get(declared, f.path);
    if (f.kind === "list") return [f.path, Array.isArray(v) ? v.map(String) : []];
    if (f.kind === "flag") return [f.path, v === true];
    return [f.path, typeof v === "number" || typeof v === "string" ? v : ""];
  }));
}

/** The connection to send: what the form does not show stays as it was declared, and a secret is wrapped as one. */
export function assemble(declared: Declared, fields: readonly Field[], values: Values): Declared {
  const out = structuredClone(declared);
  for (const f of fields) {
    const v = values[f.path];
    const empty = v === "" || v === undefined || (Array.isArray(v) && v.length === 0) || (f.kind === "flag" && v === false && get(declared, f.path) === undefined);
    if (empty) drop(out, f.path);
    else put(out, f.path, f.kind === "secret" ? { secret: v } : f.kind === "number" ? Number(v) : typeof v === "string" ? v.trim() : v);
  }
  return out;
}

/** What is missing, by path. */
export function check(fields: readonly Field[], values: Values): Record<string, string> {
  const out: Record<string, string> = {};
  for (const f of fields) {
    const v = values[f.path];
    if (f.needed && (v === "" || (Array.isArray(v) && v.length === 0))) out[f.path] = f.kind === "secret" ? "Vault logs in with it at once, so write it again" : "This is needed";
    else if (f.kind === "number" && v !== "" && !Number.isInteger(Number(v))) out[f.path] = "Write a whole number";
  }
  return out;
}

const isObject = (v: unknown): v is Declared => typeof v === "object" && v !== null && !Array.isArray(v);

function get(from: Declared, path: string): unknown {
  return path.split(".").reduce<unknown>((at, key) => (isObject(at) ? at[key] : undefined), from);
}

function put(into: Declared, path: string, value: unknown) {
  const keys = path.split(".");
  const last = keys.pop()!;
  let at = into;
  for (const key of keys) {
    if (!isObject(at[key])) at[key] = {};
    at = at[key] as Declared;
  }
  at[last] = value;
}

/** Removes a value, and what held nothing but it. */
function drop(from: Declared, path: string) {
  const [key, ...rest] = path.split(".");
  if (rest.length === 0) delete from[key!];
  else if (isObject(from[key!])) {
    const inner = from[key!] as Declared;
    drop(inner, rest.join("."));
    if (Object.keys(inner).length === 0) delete from[key!];
  }
}
