import { expect, test } from "vitest";
import { counted, noteWords } from "./notes";

test("every note is told in words, and leads somewhere", () => {
  const words = Object.fromEntries(noteWords({
    replay_of: "ca1", approval: "ap1", confirmation: "cf1", repeats: 22, limit: "session", switch: "tool", masked: { email: 2, card: 1 }, withheld: { private_key: 1 }, flagged: ["ignore_instructions"],
    kept: "rs1", deprecated: "2027-02-01", revision: 6, asked: { "elicitation/create": 2 }, typed: 14, task: "tk1",
  }).map((n) => [n.key, n]));
  expect(words.replay_of).toMatchObject({ call: "ca1" });
  expect(words.approval).toMatchObject({ approval: "ap1" });
  expect(words.repeats!.says).toContain("22nd identical call");
  expect(words.limit).toMatchObject({ says: "The limit of the session was reached.", to: "/limits" });
  expect(words.switch).toMatchObject({ to: "/switches" });
  expect(words.masked!.says).toBe("2 e-mail addresses and 1 card number.");
  expect(words.withheld).toMatchObject({ says: "Credentials that did not leave: 1 private key.", grave: true });
  expect(words.flagged!.says).toContain("ignore instructions");
  expect(words.deprecated!.says).toContain("1 Feb 2027");
  expect(words.asked!.says).toContain("2 questions");
  expect(words.typed!.says).toContain("14 completions");
  expect(words.task).toMatchObject({ task: "tk1" });
  expect(words.revision!.says).toContain("revision 6");
});

test("nothing to say is nothing, and what is not known is shown as it is", () => {
  expect(noteWords(undefined)).toEqual([]);
  expect(noteWords({ masked: null, from_tomorrow: { a: 1 } })).toEqual([{ key: "from_tomorrow", name: "from tomorrow", says: '{"a":1}' }]);
  expect(counted({ box: 2 })).toBe("2 boxes");
});
