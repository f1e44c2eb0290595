import { z } from "zod";
import { zodValidate } from "~/lib/form";

/** A connection to Postgres as a form has it; what a form does not have is carried along as it was declared. */
export const SQLConnection = z.object({
  host: z.string().trim().min(1, "Write a name or an address"),
  port: z.number("Write a number").int().min(1, "1 to 65535").max(65535, "1 to 65535"),
  database: z.string().trim().min(1, "Name the database"),
  sslmode: z.enum(["verify-full", "verify-ca", "require", "disable"]),
  sslrootcert: z.string(),
  username: z.string().trim().min(1, "Name the account that Vault uses"),
  password: z.string(),
  read: z.array(z.string()).min(1, "Name the roles whose rights reading tools get, such as shop_reader"),
  write: z.array(z.string()),
  replicaHost: z.string(),
  replicaPort: z.number("Write a number").int().min(1, "1 to 65535").max(65535, "1 to 65535"),
  ttl: z.string(),
  writes: z.enum(["per_call", "cached"]),
  connections: z.number("Write a number").int().min(1, "1 to 100").max(100, "1 to 100"),
  perUser: z.boolean(),
});
export type SQLConnection = z.infer<typeof SQLConnection>;

/** Where each field stands in a declared connection. */
export const places: Record<keyof SQLConnection, string> = {
  host: "host", port: "port", database: "database", sslmode: "sslmode", sslrootcert: "sslrootcert",
  username: "admin.username", password: "admin.password", read: "groups.read", write: "groups.write",
  replicaHost: "replica.host", replicaPort: "replica.port",
  ttl: "credentials.ttl", writes: "credentials.write", connections: "credentials.connections", perUser: "credentials.per_user",
};

/** Fields that most connections leave as they are. */
export const seldom = ["sslrootcert", "replicaHost", "replicaPort", "ttl", "writes", "connections", "perUser"] as const;

export const sslmodes = [
  { value: "verify-full", label: "verify-full: encrypted, certificate and name checked" },
  { value: "verify-ca", label: "verify-ca: encrypted, certificate checked" },
  { value: "require", label: "require: encrypted, nothing checked" },
  { value: "disable", label: "disable: only for the platform's own machine" },
];

export type Declared = Record<string, unknown>;

export function fromDeclared(declared: Declared | undefined): SQLConnection {
  const admin = object(declared?.admin);
  const groups = object(declared?.groups);
  const replica = object(declared?.replica);
  const credentials = object(declared?.credentials);
  const mode = SQLConnection.shape.sslmode.safeParse(declared?.sslmode);
  return {
    host: text(declared?.host), port: whole(declared?.port, 5432), database: text(declared?.database), sslmode: mode.success ? mode.data : "verify-full", sslrootcert: text(declared?.sslrootcert),
    username: text(admin.username), password: "", read: texts(groups.read), write: texts(groups.write),
    replicaHost: text(replica.host), replicaPort: whole(replica.port, 5432),
    ttl: text(credentials.ttl), writes: credentials.write === "cached" ? "cached" : "per_call", connections: whole(credentials.connections, 8), perUser: credentials.per_user === true,
  };
}

/** The connection to send. What is as it is without being declared stays undeclared; a password that was not written is the one Vault has. */
export function toDeclared(values: SQLConnection, declared: Declared = {}): Declared {
  const { sslrootcert: _, replica, credentials, ...rest } = declared;
  const sslrootcert = values.sslrootcert.trim();
  const host = values.replicaHost.trim();
  const was = object(credentials);
  const { ttl: __, ...lives } = was;
  const ttl = values.ttl.trim();
  const issue = {
    ...lives, ...(ttl && { ttl }),
    ...declare(was, "write", values.writes, "per_call"), ...declare(was, "connections", values.connections, 8), ...declare(was, "per_user", values.perUser, false),
  };
  return {
    ...rest,
    host: values.host.trim(), port: values.port, database: values.database.trim(), sslmode: values.sslmode, ...(sslrootcert && { sslrootcert }),
    admin: { username: values.username.trim(), password: { secret: values.password || "[set]" } },
    groups: { read: values.read, ...(values.write.length > 0 && { write: values.write }) },
    ...(host && { replica: { host, ...declare(object(replica), "port", values.replicaPort, 5432) } }),
    ...(Object.keys(issue).length > 0 && { credentials: issue }),
  };
}

/** Whether anything but the password differs. */
export function differs(a: SQLConnection, b: SQLConnection): boolean {
  const said = (v: SQLConnection) => JSON.stringify(toDeclared({ ...v, password: "" }));
  return said(a) !== said(b);
}

/**
 * What is wrong with a connection, by field. `kept` is the one whose password Vault has: the platform keeps a password
 * only while nothing else changes, or whoever changes the host would be sent it.
 */
export function problemsOf(values: SQLConnection, kept?: SQLConnection): Record<string, string> {
  const problems = zodValidate(SQLConnection)(values);
  if (values.password === "") {
    if (!kept) problems.password = "Vault logs in with it at once, so it is needed";
    else if (differs(values, kept)) problems.password = "Something else has changed, so write the password again";
  }
  return problems;
}

function declare(was: Declared, key: string, value: unknown, standard: unknown): Declared {
  return value === standard && was[key] === undefined ? {} : { [key]: value };
}

const object = (value: unknown): Declared => (value && typeof value === "object" ? (value as Declared) : {});
const text = (value: unknown) => (typeof value === "string" ? value : "");
const texts = (value: unknown) => (Array.isArray(value) ? value.map(String) : []);
const whole = (value: unknown, standard: number) => Number(value ?? standard) || standard;
