import { expect, test } from "vitest";
import { pieces } from "./mail/pieces";
import { noQuotas, quotasOf } from "./tenants/quotas";
import { pools, versions, type Worker } from "./workers/pools";

const worker = (name: string, pool: string, busy: number, version = "v1"): Worker => ({ name, pool, slots: 8, busy, version, last_seen_at: "2025-01-01T00:00:00Z" });

test("workers stand by pool and name, with what each pool has", () => {
  const all = pools([worker("b", "eu", 1), worker("c", "default", 8), worker("a", "eu", 2, "v2")]);
  expect(all.map((p) => [p.name, p.workers.map((w) => w.name), p.slots, p.busy])).toEqual([["default", ["c"], 8, 8], ["eu", ["a", "b"], 16, 3]]);
  expect(versions([worker("a", "x", 0, "v2"), worker("b", "x", 0), worker("c", "x", 0)])).toEqual(["v1", "v2"]);
});

test("addresses in a mail can be followed, without the dot behind them", () => {
  expect(pieces("Open http://x/t/acme/invitation/a1.\nBye").map((p) => [p.text, p.link])).toEqual([["Open ", false], ["http://x/t/acme/invitation/a1", true], [".\nBye", false]]);
  expect(pieces("nothing")).toEqual([{ text: "nothing", link: false }]);
});

test("a quota that is left empty is the platform's to choose, and none is 0", () => {
  expect(quotasOf({ ...noQuotas, servers: 0, members: 50 })).toEqual({ servers: 0, members: 50 });
});
