import { expect, test } from "vitest";
import { allows } from "./me";

test.each([
  [["admin"], "keys:write", true],
  [["servers:write"], "servers:read", true],
  [["servers:read"], "servers:write", false],
  [["servers:write"], "roles:read", false],
  [[], "tenant:read", false],
])("%j allows %s: %s", (held, needed, allowed) => {
  expect(allows(held, needed)).toBe(allowed);
});
