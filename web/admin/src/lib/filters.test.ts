import { expect, test } from "vitest";
import { filters, isFiltered, search, withFilter } from "./filters";

const schema = search({ q: filters.text, risk: filters.choice(["read", "write"]), live: filters.flag, revision: filters.number, since: filters.time });

test("what fits is kept", () => {
  expect(schema.parse({ q: " orders ", risk: "read", live: true, revision: "4", since: "2026-01-01T00:00:00Z" })).toEqual({ q: "orders", risk: "read", live: true, revision: 4, since: "2026-01-01T00:00:00Z" });
});

test("what does not fit is dropped and fails nothing", () => {
  expect(schema.parse({ q: "", risk: "everything", live: "yes", revision: "-3", since: "yesterday", other: 1 })).toEqual({ q: undefined, risk: undefined, live: undefined, revision: undefined, since: undefined });
  expect(schema.parse({ q: "x".repeat(301) }).q).toBeUndefined();
});

test("a number that was typed as a filter is text", () => {
  expect(schema.parse({ q: 42 }).q).toBe("42");
});

test("an empty filter leaves the address", () => {
  expect(withFilter({ q: "a", risk: "read" as string | undefined }, { risk: undefined })).toEqual({ q: "a" });
  expect(withFilter({ q: "a" }, { q: "" })).toEqual({});
  expect(isFiltered({ q: undefined, risk: "" })).toBe(false);
  expect(isFiltered({ q: "a" })).toBe(true);
});
