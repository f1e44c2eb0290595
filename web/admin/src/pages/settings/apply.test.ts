import { expect, test } from "vitest";
import { ProblemError } from "~/api/problem";
import { arrange, fileProblems, headline, unmentionedWords, type ApplyResult } from "./apply";

const result: ApplyResult = {
  dry_run: true,
  changes: [{ verb: "unchanged", what: "tenant", name: "acme" }, { verb: "created", what: "role", name: "auditor" }, { verb: "updated", what: "member", name: "vic" }, { verb: "deleted", what: "role", name: "old" }, { verb: "created", what: "role", name: "b" }],
  unmentioned: [{ what: "role", name: "finance" }, { what: "member", name: "x" }, { what: "role", name: "y" }],
};

test("deletions stand first, and what stays is only counted", () => {
  const { changes, unchanged } = arrange(result);
  expect(changes.map((c) => c.name)).toEqual(["old", "vic", "auditor", "b"]);
  expect(unchanged).toBe(1);
  expect(headline(changes)).toBe("1 deleted, 1 updated, 2 created");
  expect(unmentionedWords(result)).toBe("2 roles, 1 member");
});

test("a file's problems keep their lines", () => {
  const error = new ProblemError(422, { code: "invalid_spec", errors: [{ pointer: "/servers/0", detail: "is not known", fix: "write read", line: 21, column: 13 }] });
  expect(fileProblems(error)).toEqual([{ line: 21, column: 13, text: "/servers/0 is not known", fix: "write read" }]);
  expect(fileProblems(new Error("x"))).toEqual([]);
});
