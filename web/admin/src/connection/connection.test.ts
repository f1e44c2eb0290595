import { expect, test } from "vitest";
import { ProblemError } from "~/api/problem";
import { showConnectionProblem } from "./problem";
import { fromDeclared, problemsOf, toDeclared, type Declared } from "./sql";
import { stateOf } from "./state";

const declared: Declared = {
  host: "db", port: 5433, database: "shop", sslmode: "require", admin: { username: "vault", password: { secret: "[set]" } }, groups: { read: ["reader"], write: ["writer"] },
  replica: { host: "db2" }, credentials: { ttl: "10m" }, later: [1, 2],
};

test("what a form does not change goes back as it was declared, with the password that was written", () => {
  const values = fromDeclared(declared);
  expect(values).toMatchObject({ host: "db", port: 5433, database: "shop", sslmode: "require", username: "vault", password: "", read: ["reader"], write: ["writer"], replicaHost: "db2", replicaPort: 5432, ttl: "10m", connections: 8 });
  expect(toDeclared(values, declared)).toEqual(declared);
  expect(toDeclared({ ...values, password: "s3cret" }, declared)).toEqual({ ...declared, admin: { username: "vault", password: { secret: "s3cret" } } });
});

test("an emptied field is left out, and what held nothing else with it", () => {
  const out = toDeclared({ ...fromDeclared(declared), replicaHost: " ", ttl: "", write: [] }, declared);
  expect(Object.keys(out)).not.toContain("replica");
  expect(Object.keys(out)).not.toContain("credentials");
  expect(out.groups).toEqual({ read: ["reader"] });
});

test("a new connection is encrypted and checked unless one says otherwise", () => {
  expect(fromDeclared(undefined)).toMatchObject({ sslmode: "verify-full", port: 5432 });
});

test("each thing that is missing is named", () => {
  expect(Object.keys(problemsOf(fromDeclared(undefined)))).toEqual(["host", "database", "username", "read", "password"]);
});

test("a password that Vault has is asked for only when something else changed", () => {
  const kept = fromDeclared(declared);
  expect(problemsOf({ ...kept, host: " db " }, kept)).toEqual({});
  for (const change of [{ host: "evil.example" }, { port: 5434 }, { username: "other" }, { perUser: true }, { replicaHost: "db3" }]) {
    expect(Object.keys(problemsOf({ ...kept, ...change }, kept))).toEqual(["password"]);
    expect(problemsOf({ ...kept, ...change, password: "x" }, kept)).toEqual({});
  }
});

test("what the platform points at is a field of the form", () => {
  let shown: unknown;
  const form = { setErrors: (errors: unknown) => { shown = errors; } };
  const point = (...pointers: string[]) => showConnectionProblem(form, new ProblemError(422, { errors: pointers.map((pointer) => ({ pointer, detail: "is wrong" })) }));
  expect(point("/connection/admin/password", "/host", "/connection/groups/read/0", "/connection/credentials/ttl")).toBe(true);
  expect(shown).toEqual({ password: "Is wrong.", host: "Is wrong.", read: "Is wrong.", ttl: "Is wrong." });
  expect(point("/connection")).toBe(false);
});

test("the state is that of the last attempt", () => {
  const a = "2025-01-01T00:00:00Z";
  const b = "2025-01-02T00:00:00Z";
  expect([stateOf({}), stateOf({ last_issued_at: b, last_failed_at: a }), stateOf({ last_issued_at: a, last_failed_at: b }), stateOf({ last_failed_at: a })].map((s) => s.label)).toEqual(["Not used yet", "Works", "Failing", "Failing"]);
});
