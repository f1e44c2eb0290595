import { z } from "zod";

/** What the form has of a connection to Postgres; the rest of a declared one is carried along as it is. */
export const SQLConnection = z.object({
  host: z.string().trim().min(1, "Write a name or an address"),
  port: z.number("Write a number").int().min(1, "1 to 65535").max(65535, "1 to 65535"),
  database: z.string().trim().min(1, "Name the database"),
  sslmode: z.enum(["verify-full", "verify-ca", "require", "disable"]),
  username: z.string().trim().min(1, "Name the account that Vault uses"),
  password: z.string().min(1, "Vault logs in with it at once, so it is needed each time"),
  read: z.array(z.string()).min(1, "Name the roles whose rights reading tools get, such as shop_reader"),
  write: z.array(z.string()),
});
export type SQLConnection = z.infer<typeof SQLConnection>;

export const sslmodes = [
  { value: "verify-full", label: "verify-full: encrypted, certificate and name checked" },
  { value: "verify-ca", label: "verify-ca: encrypted, certificate checked" },
  { value: "require", label: "require: encrypted, nothing checked" },
  { value: "disable", label: "disable: only for this machine" },
];

type Declared = Record<string, unknown>;

export function fromDeclared(declared: Declared | undefined): SQLConnection {
  const admin = object(declared?.admin);
  const groups = object(declared?.groups);
  const mode = SQLConnection.shape.sslmode.safeParse(declared?.sslmode);
  return {
    host: text(declared?.host), port: Number(declared?.port ?? 5432) || 5432, database: text(declared?.database), sslmode: mode.success ? mode.data : "verify-full",
    username: text(admin.username), password: "", read: texts(groups.read), write: texts(groups.write),
  };
}

export function toDeclared(values: SQLConnection, declared: Declared = {}): Declared {
  return {
    ...declared,
    host: values.host.trim(), port: values.port, database: values.database.trim(), sslmode: values.sslmode,
    admin: { username: values.username.trim(), password: { secret: values.password } },
    groups: { read: values.read, ...(values.write.length > 0 ? { write: values.write } : {}) },
  };
}

/** Where a problem of the API belongs in the form: `connection.admin.username` is `username`. */
export function formPath(path: string): string {
  return path.replace(/^connection\./, "").replace(/^(admin|groups)\./, "").replace(/\.\d+$/, "");
}

const object = (value: unknown): Declared => (value && typeof value === "object" ? (value as Declared) : {});
const text = (value: unknown) => (typeof value === "string" ? value : "");
const texts = (value: unknown) => (Array.isArray(value) ? value.map(String) : []);
