import { expect, test } from "vitest";
import { codeNames, explainCode } from "~/lib/codes";
import { keyHelp } from "~/lib/key-help";
import { keyState } from "./api-key";

test("a key's state follows its times", () => {
  const now = Date.parse("2025-03-01T00:00:00Z");
  const at = (days: number) => new Date(now + days * 86_400_000).toISOString();
  expect([{}, { expires_at: at(30) }, { expires_at: at(3) }, { expires_at: at(-1) }, { expires_at: at(30), revoked_at: at(-2) }].map((k) => keyState(k, now))).toEqual(["active", "active", "expiring", "expired", "revoked"]);
});

test("examples never hold the key itself", () => {
  const help = keyHelp({ api: "http://x/t/acme/api/v1", tenant: "acme", token: "http://x/t/acme/token", id: "ak1" });
  expect(help.direct).toContain("http://x/t/acme/api/v1/tenants/acme");
  expect(help.exchange).toContain('-u "ak1:$LATCHKEY_API_KEY"');
  expect(keyHelp({ api: "http://x/api/v1", token: "http://x/ops/token", id: "ok1" }).direct).toMatch(/\/api\/v1\/tenants$/);
});

test("every code of docs/errors.md is explained here", async () => {
  const { readFileSync } = await import("node:fs");
  const documented = [...readFileSync("../../docs/errors.md", "utf8").matchAll(/^\| `(\w+)` \| \w+ \|/gm)].map((m) => m[1]!);
  expect(documented.length).toBeGreaterThan(10);
  expect(documented.filter((code) => !codeNames.includes(code))).toEqual([]);
  expect(explainCode("from_the_future").todo).not.toBe("");
});
