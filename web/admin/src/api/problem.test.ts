import { expect, test } from "vitest";
import { explain, fieldErrors, isStale, pointerToPath, problemOf, ProblemError } from "./problem";

const refused = (errors: ProblemError["problem"]["errors"]) => new ProblemError(422, { code: "invalid_arguments", detail: "Correct it.", errors });

test("a pointer becomes the path of a field", () => {
  expect(pointerToPath("/connection/admin/username")).toBe("connection.admin.username");
  expect(pointerToPath("#/a~1b/c~0d")).toBe("a/b.c~d");
  expect(pointerToPath("")).toBe("");
});

test("what the platform says about fields stands beside them, with its fix", () => {
  const { fields, rest } = fieldErrors(
    refused([
      { pointer: "/name", detail: "is taken", fix: "choose another" },
      { pointer: "/roles/3", detail: "is not known" },
      { pointer: "/roles/4", detail: "is not known either" },
      { pointer: "/quota", detail: "is used up" },
      { detail: "nothing fits" },
    ]),
    ["name", "roles"],
  );
  expect(fields).toEqual({ name: "Is taken. Choose another.", roles: "Is not known. Is not known either." });
  expect(rest).toEqual(["quota: Is used up.", "Nothing fits."]);
});

test("the longest field that fits takes the problem", () => {
  const { fields } = fieldErrors(refused([{ pointer: "/connection/admin/password", detail: "is wrong" }]), ["connection", "connection.admin.password"]);
  expect(Object.keys(fields)).toEqual(["connection.admin.password"]);
});

test("other errors have no fields", () => {
  expect(fieldErrors(new TypeError("x"), ["name"])).toEqual({ fields: {}, rest: [] });
});

test("an answer that is no problem document is one all the same", async () => {
  const error = await problemOf(new Response("<h1>Bad gateway</h1>", { status: 502, headers: { "content-type": "text/html", "x-request-id": "rq1" } }));
  expect(error.status).toBe(502);
  expect(error.requestId).toBe("rq1");
  expect(error.message).toContain("502");
});

test("a cut body does not hide the status", async () => {
  const error = await problemOf(new Response('{"title": "Re', { status: 412, headers: { "content-type": "application/problem+json" } }));
  expect(isStale(error)).toBe(true);
});

test("a person is told what happened, whatever was thrown", () => {
  expect(explain(new ProblemError(403, { title: "Not yours", detail: "Ask Dana.", request_id: "rq2" }))).toEqual({ title: "Not yours", detail: "Ask Dana.", requestId: "rq2" });
  expect(explain(new TypeError("Failed to fetch")).title).toBe("The platform does not answer");
  expect(explain("odd").detail).toBe("odd");
});
