import { expect, test } from "vitest";
import { parseAddresses } from "./addresses";

test("addresses as people paste them", () => {
  const { good, bad } = parseAddresses('sam@acme.test, "Fred Finance" <Fred@Acme.test>;\nNora New <nora@acme.test>\n\n  vic@acme.test  ');
  expect(good).toEqual([{ email: "sam@acme.test" }, { email: "fred@acme.test", name: "Fred Finance" }, { email: "nora@acme.test", name: "Nora New" }, { email: "vic@acme.test" }]);
  expect(bad).toEqual([]);
});

test("a repeated one counts once, and what is none is given back", () => {
  const { good, bad } = parseAddresses("sam@acme.test\nSAM@acme.test\nnobody\na@b@c, Sam <>");
  expect(good).toEqual([{ email: "sam@acme.test" }]);
  expect(bad).toEqual(["nobody", "a@b@c", "Sam <>"]);
});
