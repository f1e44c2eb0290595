import { expect, test } from "vitest";
import { parseBoot } from "./boot";

test("paths lose the slash at their end", () => {
  const boot = parseBoot('{"mode":"tenant","tenant":"acme","tenantName":"Acme","base":"/t/acme/","console":"/t/acme/admin/","api":"/t/acme/api/v1/"}');
  expect(boot).toMatchObject({ base: "/t/acme", console: "/t/acme/admin", api: "/t/acme/api/v1" });
});

test("operators have no tenant", () => {
  expect(parseBoot('{"mode":"ops","console":"/ops","api":"/api/v1"}')).toMatchObject({ mode: "ops", tenant: "", base: "" });
});

test("a page that no server filled in is for development", () => {
  expect(parseBoot("__LATCHKEY__").mode).toBe("tenant");
  expect(parseBoot("").tenant).toBe("acme");
});

test("nonsense from the server is not taken for anything", () => {
  expect(() => parseBoot('{"mode":"root"}')).toThrow();
});
