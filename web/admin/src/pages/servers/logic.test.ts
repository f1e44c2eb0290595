import { expect, test } from "vitest";
import { formPath, fromDeclared, SQLConnection, toDeclared } from "./sql-connection";
import { indentAfter } from "./spec-editor";
import { scopesOf } from "./step-publish";

const declared = { host: "db", port: 5433, database: "shop", sslmode: "require", admin: { username: "vault" }, groups: { read: ["reader"], write: ["writer"] }, replica: { host: "db2" } };

test("a declared connection goes into the form without a secret and comes back with one", () => {
  const values = fromDeclared(declared);
  expect(values).toEqual({ host: "db", port: 5433, database: "shop", sslmode: "require", username: "vault", password: "", read: ["reader"], write: ["writer"] });
  expect(toDeclared({ ...values, password: "s3cret" }, declared)).toEqual({ ...declared, admin: { username: "vault", password: { secret: "s3cret" } } });
});

test("a new connection is encrypted and checked unless one says otherwise", () => {
  expect(fromDeclared(undefined)).toMatchObject({ sslmode: "verify-full", port: 5432 });
  expect(toDeclared({ ...fromDeclared({}), write: [] }).groups).toEqual({ read: [] });
});

test("each thing that is missing is named", () => {
  const result = SQLConnection.safeParse(fromDeclared(undefined));
  expect(result.error!.issues.map((i) => i.path.join("."))).toEqual(["host", "database", "username", "password", "read"]);
});

test("what the platform points at is a field of the form", () => {
  expect(["connection.admin.password", "host", "connection.groups.read.0"].map(formPath)).toEqual(["password", "host", "read"]);
});

test("Enter keeps the indentation, and goes deeper after a colon", () => {
  expect([indentAfter("    - name: x"), indentAfter("tools:"), indentAfter("  statement: |"), indentAfter("")]).toEqual(["    ", "  ", "    ", ""]);
});

test("a scope is as grave as its gravest tool", () => {
  const tool = (name: string, scope: string, risk: "read" | "write" | "destructive") => ({ server: "s", name, title: "", description: "", scope, risk, timeout_ms: 1, idempotent: true, input_schema: {} });
  expect(scopesOf({ tools: [tool("a", "x", "read"), tool("b", "x", "destructive"), tool("c", "y", "write")], scopes: ["x", "y", "z"] })).toEqual([
    { scope: "x", risk: "destructive", tools: ["a", "b"] }, { scope: "y", risk: "write", tools: ["c"] }, { scope: "z", risk: "read", tools: [] },
  ]);
});
