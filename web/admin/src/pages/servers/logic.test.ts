import { expect, test } from "vitest";
import { indentAfter } from "./spec-editor";
import { scopesOf } from "./step-publish";

test("Enter keeps the indentation, and goes deeper after a colon", () => {
  expect([indentAfter("    - name: x"), indentAfter("tools:"), indentAfter("  statement: |"), indentAfter("")]).toEqual(["    ", "  ", "    ", ""]);
});

test("a scope is as grave as its gravest tool", () => {
  const tool = (name: string, scope: string, risk: "read" | "write" | "destructive") => ({ server: "s", name, title: "", description: "", scope, risk, timeout_ms: 1, idempotent: true, input_schema: {} });
  expect(scopesOf({ tools: [tool("a", "x", "read"), tool("b", "x", "destructive"), tool("c", "y", "write")], scopes: ["x", "y", "z"] })).toEqual([
    { scope: "x", risk: "destructive", tools: ["a", "b"] }, { scope: "y", risk: "write", tools: ["c"] }, { scope: "z", risk: "read", tools: [] },
  ]);
});
