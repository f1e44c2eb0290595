import { expect, test } from "vitest";
import { diffLines, fieldName, fold } from "./diff";

const marks = (before: string, after: string) => diffLines(before, after).map((l) => `${{ same: " ", added: "+", removed: "-" }[l.kind]}${l.text}`);

test("a changed line is taken out and put in at its place", () => {
  expect(marks("a\nb\nc\n", "a\nB\nc\n")).toEqual([" a", "-b", "+B", " c"]);
});

test("lines are numbered on their own side", () => {
  const lines = diffLines("a\nb", "x\na\nb");
  expect(lines.map((l) => [l.before, l.after])).toEqual([[undefined, 1], [1, 2], [2, 3]]);
});

test("the longest common run is kept", () => {
  expect(marks("a\nb\nc\nd", "b\nc\nd\ne")).toEqual(["-a", " b", " c", " d", "+e"]);
});

test("from nothing and to nothing", () => {
  expect(marks("", "a\nb\n")).toEqual(["+a", "+b"]);
  expect(marks("a\n", "")).toEqual(["-a"]);
  expect(marks("a", "a")).toEqual([" a"]);
});

test("every line of both texts is there exactly once", () => {
  const before = Array.from({ length: 60 }, (_, i) => `line ${i % 7} ${i % 3}`);
  const after = before.filter((_, i) => i % 5 !== 0).flatMap((l, i) => (i % 11 === 0 ? [l, "new"] : [l]));
  const lines = diffLines(before.join("\n"), after.join("\n"));
  expect(lines.filter((l) => l.kind !== "added").map((l) => l.text)).toEqual(before);
  expect(lines.filter((l) => l.kind !== "removed").map((l) => l.text)).toEqual(after);
});

test("what is far from a change is folded", () => {
  const before = Array.from({ length: 20 }, (_, i) => String(i)).join("\n");
  const folded = fold(diffLines(before, before.replace("10", "ten")), 2);
  expect(folded[0]).toEqual({ kind: "folded", count: 8 });
  expect(folded.at(-1)).toEqual({ kind: "folded", count: 7 });
  expect(folded).toHaveLength(8);
});

test("a field is named as a person would", () => {
  expect(fieldName("risk")).toBe("Risk");
  expect(fieldName("timeout_ms")).toBe("Timeout ms");
  expect(fieldName("input_schema/properties/limit/maximum")).toBe("Input limit: maximum");
  expect(fieldName("output_schema/properties/rows")).toBe("Output rows");
  expect(fieldName("input_schema/required")).toBe("Input: required");
  expect(fieldName("input_schema")).toBe("Input");
});
