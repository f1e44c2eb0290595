import { expect, test } from "vitest";
import { safetyExamples, safetyPatch, safetyWords } from "./safety-words";
import { span } from "./time";

const says = (safety: Record<string, unknown> | undefined, risk: "read" | "write" | "destructive" = "destructive") =>
  Object.fromEntries(safetyWords(safety, risk).map((p) => [p.key, p.says.join(" ")]));

test("without a word in the spec the defaults are told, by risk", () => {
  expect(says(undefined).confirm).toMatch(/^Every call .* because it cannot be undone/);
  expect(says({}, "write").confirm).toMatch(/Not asked for/);
  expect(says({}, "read").idempotency).toBe("It only reads, so a repeat does no harm.");
  expect(says({}).guard).toMatch(/Credentials are withheld\. Instructions to the model are flagged\. Up to 64 KB inline/);
  expect(safetyWords({}, "write").every((p) => !p.own && !p.loose)).toBe(true);
});

test("each key of the spec is told in words", () => {
  const w = says({
    limits: { tool: { rate: "30/min", burst: 2, concurrency: 4 }, session: { rate: "none" } },
    idempotency: { argument: "request_id", keep: "48h", repeatable: true },
    confirm: { when: { argument: "country", in: ["DE", "FR"] }, message: "Pays {{amount}}", expires: "2m" },
    approval: { role: "finance", when: { argument: "amount", above: 500 }, wait: "30s" },
    guard: { mask: ["email", "ticket"], mask_fields: { iban: "partial" }, fields: ["id"], untrusted: "all", secrets: "off" },
    version: 2, replaces: { version: 1, sunset: "2027-01-31" },
    deprecated: { since: "2026-12-01", sunset: "2027-01-31", successor: "pay_back" },
  });
  expect(w.limits).toBe("All callers together: 30/min, 2 at once, 4 at the same time. Each session: any rate. The tenant's limits hold as well.");
  expect(w.idempotency).toContain("within 48h");
  expect(w.idempotency).toContain("request_id");
  expect(w.confirm).toContain("country is one of DE and FR");
  expect(w.approval).toContain("role finance decides calls where amount is above 500");
  expect(w.approval).toContain("waits 30s");
  expect(w.guard).toContain("e-mail addresses and ticket");
  expect(w.guard).toContain("The scan for credentials is off.");
  expect(w.version).toContain("takes the place of version 1; sessions that listed that one go on with it until 31 Jan 2027");
  expect(w.deprecated).toContain("Its successor is pay_back.");
});

test("what is looser than the default is marked, and a key of tomorrow is shown", () => {
  const loose = (safety: Record<string, unknown>) => safetyWords(safety, "destructive").filter((p) => p.loose).map((p) => p.key);
  expect(loose({ guard: "off" })).toEqual(["guard"]);
  expect(loose({ confirm: "never" })).toEqual(["confirm"]);
  expect(says({ tomorrow: { x: 1 } }).tomorrow).toBe('{"x":1}');
});

test("odd values fail nothing", () => {
  for (const odd of [null, 3, "x", [], { when: [] }]) {
    for (const key of Object.keys(safetyExamples)) expect(() => says({ [key]: odd })).not.toThrow();
  }
});

test("only what differs is sent, and null for what goes", () => {
  expect(safetyPatch({ confirm: "always", version: 2, guard: "off" }, { confirm: "always", version: 3 })).toEqual({ version: 3, guard: null });
  expect(safetyPatch({}, {})).toEqual({});
});

test("time left in its two largest units", () => {
  expect([0, 42_000, 250_000, 7_800_000, 3_600_000, 300_000_000].map(span)).toEqual(["0 s", "42 s", "4 min 10 s", "2 h 10 min", "1 h", "3 d 11 h"]);
});
