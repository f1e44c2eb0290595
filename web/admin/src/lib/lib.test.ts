import { expect, test } from "vitest";
import { z } from "zod";
import { connectHelp } from "./connect";
import { slugFrom, slugPattern, zodValidate } from "./form";
import { permissionWords, togglePermission } from "./permissions";
import { argumentsOf, fieldsOf } from "./schema-form";
import { ago, duration } from "./time";
import { count, initials, list } from "./words";

test("numbers and lists in words", () => {
  expect(count(1, "tool")).toBe("1 tool");
  expect(count(1200, "person", "people")).toBe("1,200 people");
  expect(list([])).toBe("");
  expect(list(["a", "b", "c"])).toBe("a, b and c");
  expect(list(["a", "b", "c", "d"], 2)).toBe("a, b and 2 more");
  expect([initials("Dana Admin"), initials("sam.s@acme.test"), initials("")]).toEqual(["DA", "SS", "?"]);
});

test("times as one says them", () => {
  const now = Date.parse("2026-01-02T12:00:00Z");
  expect(ago("2026-01-02T11:57:00Z", now)).toBe("3 minutes ago");
  expect(ago("2026-01-04T12:00:00Z", now)).toBe("in 2 days");
  expect(ago("2026-01-02T11:59:58Z", now)).toBe("just now");
  expect([duration(840), duration(5000), duration(1234), duration(125_000)]).toEqual(["840 ms", "5 s", "1.2 s", "2 min 5 s"]);
});

test("a slug from any title is a slug", () => {
  expect(slugFrom("Hello Wörld 2!")).toBe("hello-world-2");
  expect(slugFrom("3 Orders")).toBe("orders");
  expect(slugFrom("x".repeat(80))).toMatch(slugPattern);
});

test("the first complaint about a field counts", () => {
  const validate = zodValidate(z.object({ name: z.string().min(2, "too short").regex(/^a/, "begins with a") }));
  expect(validate({ name: "b" })).toEqual({ name: "too short" });
  expect(validate({ name: "ab" })).toEqual({});
});

test("a right to change comes and goes with the right to see", () => {
  expect(togglePermission([], "roles:write", true).toSorted()).toEqual(["roles:read", "roles:write"]);
  expect(togglePermission(["roles:read", "roles:write"], "roles:read", false)).toEqual([]);
  expect(togglePermission(["roles:read", "roles:write"], "roles:write", false)).toEqual(["roles:read"]);
});

test("permissions in words", () => {
  expect(permissionWords(["admin"])).toBe("everything");
  expect(permissionWords(["roles:read", "roles:write", "audit:read", "tools:try"])).toBe("changes access; sees audit; tries tools");
  expect(permissionWords([])).toBe("nothing on the platform");
});

test("arguments are read as their schema says, and left to the platform where they cannot be", () => {
  const fields = fieldsOf({
    required: ["id"],
    properties: { id: { type: "integer" }, name: { type: "string" }, state: { enum: ["open", "paid"] }, loud: { type: ["boolean", "null"] }, lines: { type: "array" }, note: { type: "string" } },
  });
  expect(fields.map((f) => [f.kind, f.required])).toEqual([["integer", true], ["text", false], ["choice", false], ["boolean", false], ["json", false], ["text", false]]);
  expect(argumentsOf(fields, { id: "7", name: "7", state: "paid", loud: "false", lines: "[1]", note: "" })).toEqual({ id: 7, name: "7", state: "paid", loud: false, lines: [1] });
  expect(argumentsOf(fields, { id: "seven", lines: "[1" })).toEqual({ id: "seven", lines: "[1" });
});

test("every client is told the URL; plain HTTP is allowed only where it is plain", () => {
  for (const help of connectHelp("orders", "https://acme.example.com/mcp/orders")) {
    expect(help.code).toContain("https://acme.example.com/mcp/orders");
    expect(help.code).not.toContain("--allow-http");
  }
  expect(connectHelp("orders", "http://127.0.0.1:8080/t/acme/mcp/orders").at(-1)!.code).toContain("--allow-http");
});
