import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";

const use = { limit: 20, used: 3 };
const acme: Schemas["Tenant"] = { id: "tn1", slug: "acme", name: "Acme Corp", suspended: false, created_at: "2025-01-01T00:00:00Z", base_url: "http://x/t/acme", issuer: "http://x/t/acme", quotas: { servers: use, members: use, roles: use, api_keys: use } };
const result = (prune: boolean): Schemas["ApplyResult"] => ({
  dry_run: true, unmentioned: prune ? [] : [{ what: "role", name: "finance" }],
  changes: [{ verb: "created", what: "role", name: "auditor" }, ...(prune ? [{ verb: "deleted" as const, what: "role" as const, name: "finance" }] : [])],
});
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}": () => new Reply(acme, { etag: '"t1"' }),
  "GET /tenants/{tenant}/operations": () => ({ data: [{ id: `op${"a".repeat(18)}`, kind: "delete_server", target: "legacy", state: "failed", error: "Vault does not answer.", created_by: "dana@acme.test", created_at: "2025-01-01T00:00:00Z" }], has_more: false }),
  "POST /tenants/{tenant}/apply": ({ body }) => result((body as { prune: boolean }).prune),
};

test("a file is applied only after its dry run, and deleting is a choice that says what", async () => {
  const seen = platform(answers);
  open("/settings");
  await userEvent.type(await screen.findByLabelText(/Apply a file/), "tenant: acme");
  expect(screen.queryByRole("button", { name: "Apply" })).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "See what it would change" }));
  expect(await screen.findByText(/1 created/)).toBeTruthy();
  expect(screen.getByText(/these stay as they are: role finance/)).toBeTruthy();
  await accessible();
  await userEvent.click(screen.getByRole("switch", { name: /Also delete/ }));
  await userEvent.click(await screen.findByRole("button", { name: "Apply and delete" }));
  const dialog = await screen.findByRole("dialog");
  expect(dialog.textContent).toContain("role finance");
  await userEvent.type(screen.getByLabelText(/Type/), "delete");
  await userEvent.click(screen.getAllByRole("button", { name: "Apply and delete" }).at(-1)!);
  await waitFor(() => expect(seen.filter((s) => s.method === "POST").map((s) => [s.query.get("dry_run"), (s.body as { prune: boolean }).prune])).toEqual([["true", false], ["true", true], ["false", true]]));
});

test("problems of a file have their lines", async () => {
  platform({ ...answers, "POST /tenants/{tenant}/apply": () => problem(422, "invalid_spec", "Correct it.", { errors: [{ pointer: "/servers/0", detail: "is not known", line: 21, column: 13 }] }) });
  open("/settings");
  await userEvent.type(await screen.findByLabelText(/Apply a file/), "x");
  await userEvent.click(screen.getByRole("button", { name: "See what it would change" }));
  expect(await screen.findByText("Line 21, column 13:", { exact: false })).toBeTruthy();
});

test("what breaks is applied only as a choice that was typed", async () => {
  const seen = platform({ ...answers, "POST /tenants/{tenant}/apply": ({ body }) => ((body as { allow_breaking?: boolean }).allow_breaking ? result(false) : problem(422, "breaking_change", "It would break callers.", { errors: [{ detail: "issue_refund: the maximum went down", line: 14 }] })) });
  open("/settings");
  fireEvent.change(await screen.findByLabelText(/Apply a file/), { target: { value: "tenant: acme" } });
  await userEvent.click(screen.getByRole("button", { name: "See what it would change" }));
  expect(await screen.findByText("It would break who uses the tools")).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Apply" })).toBeNull();
  await userEvent.click(screen.getByRole("switch", { name: /Publish it although it breaks/ }));
  await userEvent.click(await screen.findByRole("button", { name: "Apply although it breaks" }));
  const dialog = await screen.findByRole("dialog");
  fireEvent.change(within(dialog).getByLabelText(/^Type/), { target: { value: "break" } });
  await userEvent.click(within(dialog).getByRole("button", { name: "Apply although it breaks" }));
  await waitFor(() => expect(seen.filter((s) => s.method === "POST").map((s) => [s.query.get("dry_run"), (s.body as { allow_breaking?: boolean }).allow_breaking])).toEqual([["true", undefined], ["true", true], ["false", true]]));
});

test("the name is written with the tag that was read", async () => {
  const seen = platform({ ...answers, "PATCH /tenants/{tenant}": ({ body }) => new Reply({ ...acme, ...(body as object) }, { etag: '"t2"' }) });
  open("/settings");
  await userEvent.type(await screen.findByLabelText("Name"), " Ltd");
  await userEvent.click(screen.getByRole("button", { name: "Save" }));
  await waitFor(() => expect(seen.find((s) => s.method === "PATCH")).toMatchObject({ body: { name: "Acme Corp Ltd" } }));
  expect(seen.find((s) => s.method === "PATCH")!.headers.get("If-Match")).toBe('"t1"');
});
