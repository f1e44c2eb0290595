import { expect, test } from "vitest";
import { declare, fieldsOf, pair, problemsOf, read, shown } from "./declared";

const { http, remote, stdio } = fieldsOf as Record<"http" | "remote" | "stdio", (typeof fieldsOf)[string]>;

test("what is declared holds the fields of the chosen way to log in, and no other's", () => {
  const values = { ...read(remote, undefined), url: " https://mcp.example.com/mcp ", "auth.type": "bearer", "auth.token": "s3cret", "auth.header": "X-Key" };
  expect(declare(remote, values)).toEqual({ url: "https://mcp.example.com/mcp", transport: "auto", auth: { type: "bearer", token: { secret: "s3cret" } } });
  expect(declare(remote, { ...values, "auth.type": "oauth", "auth.scopes": ["issues:read"] })).toEqual({ url: "https://mcp.example.com/mcp", transport: "auto", auth: { type: "oauth", per: "tenant", scopes: ["issues:read"] } });
  expect(shown(http, { "auth.type": "basic" }).map((f) => f.path)).toContain("auth.username");
});

test("an empty secret keeps what Vault has, and what the form does not know goes along", () => {
  const before = { base_url: "https://a.test", retries: 4, headers: { "X-Region": "eu", "X-Secret": { secret: "[set]" } }, auth: { type: "api_key", in: "header", name: "X-Key", key: { secret: "[set]" }, prefix: "Token " } };
  const values = read(http, before);
  expect(values["auth.key"]).toBe("");
  expect(declare(http, values, before)).toEqual(before);
  expect(declare(http, { ...values, "auth.key": "new" }, before)).toMatchObject({ auth: { key: { secret: "new" } }, retries: 4 });
});

test("secret variables are named, and each has a value unless Vault has it", () => {
  const values = { secrets: [pair("API_TOKEN", "s3cret"), pair("OLD", ""), pair("", "")], egress: ["api.example.com:443"] };
  expect(declare(stdio, values)).toEqual({ secrets: { API_TOKEN: { secret: "s3cret" }, OLD: { secret: "[set]" } }, egress: ["api.example.com:443"] });
  expect(Object.keys(problemsOf(stdio, values))).toEqual(["secrets"]);
  expect(problemsOf(stdio, values, ["secrets.OLD"])).toEqual({});
});

test("what is missing is named, and a secret only where it is not kept", () => {
  const values = { ...read(http, undefined), "auth.type": "basic" };
  expect(Object.keys(problemsOf(http, values))).toEqual(["base_url", "auth.username", "auth.password"]);
  expect(Object.keys(problemsOf(http, values, ["auth.password"]))).toEqual(["base_url", "auth.username"]);
});
