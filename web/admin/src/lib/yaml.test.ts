import { expect, test } from "vitest";
import { toYAML } from "./yaml";

test("JSON is written as a person would write YAML, and means the same", () => {
  expect(toYAML({
    instructions: "Acme: orders.", "on": true, empty: [], limits: { memory: "256MB", size: 3, none: null }, globs: ["*", "get_x", "yes"],
    openapi: { document: { openapi: "3.1.0" }, operations: [{ operation: "GET /orders/{id}", scope: "tool:get" }, { operation: "list", tags: ["a", "b"] }] },
    text: "two\nlines",
  }, ["document"])).toBe(`instructions: "Acme: orders."
"on": true
empty: []
limits:
  memory: "256MB"
  size: 3
  none: null
globs:
- "*"
- get_x
- "yes"
openapi:
  document: {"openapi":"3.1.0"}
  operations:
  - operation: "GET /orders/{id}"
    scope: "tool:get"
  - operation: list
    tags:
    - a
    - b
text: "two\\nlines"
`);
});
