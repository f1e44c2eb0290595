import { expect, test } from "vitest";
import { assemble, check, fieldsOf, valuesOf, type Declared } from "./declared";
import { stateOf } from "./state";

const shop: Declared = { host: "db.acme.test", port: 5432, database: "shop", admin: { username: "acme_vault" }, groups: { read: ["acme_reader"] }, credentials: { ttl: "10m", extra: [1, 2] } };

test("what a form does not change goes back as it was declared", () => {
  const fields = fieldsOf("sql", shop, ["admin.password"]);
  const values = { ...valuesOf(fields, shop), "admin.password": "hunter2", host: " db2.acme.test " };
  expect(assemble(shop, fields, values)).toEqual({ ...shop, host: "db2.acme.test", admin: { username: "acme_vault", password: { secret: "hunter2" } } });
});

test("a secret is never among the values of a form", () => {
  const leaked: Declared = { token: "not for the eye", url: "https://x" };
  const fields = fieldsOf("http", { url: "https://x" }, ["token"]);
  expect(valuesOf(fields, leaked)).toEqual({ url: "https://x", token: "" });
});

test("an emptied field is left out, and what held nothing else with it", () => {
  const declared = { ...shop, replica: { host: "ro.acme.test" } };
  const fields = fieldsOf("sql", declared, ["admin.password"]);
  const out = assemble(declared, fields, { ...valuesOf(fields, declared), "admin.password": "x", "replica.host": "" });
  expect(out).not.toHaveProperty("replica");
});

test("numbers are sent as numbers, and only whole ones", () => {
  const fields = fieldsOf("sql", shop, ["admin.password"]);
  const values = { ...valuesOf(fields, shop), "admin.password": "x", port: "6432" };
  expect(assemble(shop, fields, values).port).toBe(6432);
  expect(check(fields, { ...values, port: "many" })).toEqual({ port: "Write a whole number" });
});

test("Vault logs in each time, so the secret is asked for each time", () => {
  const fields = fieldsOf("sql", shop, ["admin.password"]);
  expect(Object.keys(check(fields, valuesOf(fields, shop)))).toEqual(["admin.password"]);
});

test("a kind the console does not know gets the fields it has", () => {
  const fields = fieldsOf("mail", { smtp: { host: "mx", tls: true, tags: ["a"] }, retries: 3 }, ["smtp.password"]);
  expect(fields.map((f) => [f.path, f.kind])).toEqual([["smtp.host", "text"], ["smtp.tls", "flag"], ["smtp.tags", "list"], ["retries", "number"], ["smtp.password", "secret"]]);
});

test("the state is that of the last attempt", () => {
  const a = "2025-01-01T00:00:00Z";
  const b = "2025-01-02T00:00:00Z";
  expect([stateOf({}), stateOf({ last_issued_at: b, last_failed_at: a }), stateOf({ last_issued_at: a, last_failed_at: b }), stateOf({ last_failed_at: a })].map((s) => s.label)).toEqual(["Not used yet", "Works", "Failing", "Failing"]);
});
