import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { decidedPage } from "./page";
import { argumentRows, arrange, folded, whyNot } from "./words";

const id = (n: number) => `ap${String(n).padStart(18, "0")}`;
const soon = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();
const approval = (n: number, more: Partial<Schemas["Approval"]> = {}): Schemas["Approval"] => ({
  id: id(n), status: "pending", server: "orders", tool: "issue_refund", title: "Issue a refund", risk: "destructive", message: "Pays 1250 EUR back.", arguments: { amount: 1250, note: "x".repeat(900), lines: [{ sku: "A" }] },
  role: "finance", member: "fred@acme.test", member_id: "us2", client: "cl1", client_name: "Claude", call_id: "ca1", requested_at: soon(-4), expires_at: soon(26), may_decide: true, ...more,
});
const own = approval(2, { member: "dana@acme.test", member_id: "us1", may_decide: false });
const denied = approval(3, { status: "denied", decided_by: "olaf@acme.test", decided_at: soon(-1), reason: "Refunded last week.", may_decide: false });
const page = <T,>(...data: T[]) => ({ data, has_more: false });

const answers: Answers = {
  "GET /me": () => ({ ...dana, permissions: [], roles: ["finance"] }),
  "GET /tenants/{tenant}/approvals": ({ query }) => (query.get("status") === "pending" ? page(own, approval(1)) : page(approval(1), denied)),
  "GET /tenants/{tenant}/approvals/{approval}": () => approval(1),
};

test("one's own cannot be decided, and says why; another's role is named", () => {
  expect(whyNot(own, { id: "us1", email: "dana@acme.test" })).toMatch(/You asked for this yourself/);
  expect(whyNot({ ...own, member_id: undefined }, { id: "us1", email: "dana@acme.test" })).toMatch(/yourself/);
  expect(whyNot({ ...own, member_id: "us2" }, { id: "us1", email: "x@acme.test" })).toBe("Who holds the role finance decides.");
  expect(whyNot(approval(1), { id: "us1", email: "" })).toBeUndefined();
});

test("those one may decide come first, then what ends first", () => {
  expect(arrange([own, approval(1), approval(4, { expires_at: soon(2) })]).map((a) => a.id)).toEqual([id(4), id(1), id(2)]);
});

test("arguments are shown whole or folded, never cut without saying so", () => {
  expect(argumentRows({ a: "", b: null, c: { d: 1 } }).map((r) => [r.value, r.json])).toEqual([["(empty)", false], ["null", false], ['{\n  "d": 1\n}', true]]);
  expect(folded("short")).toBeUndefined();
  expect(folded("x".repeat(900))).toHaveLength(320);
  expect(folded(Array.from({ length: 40 }, (_, i) => String(i)).join("\n"))!.split("\n")).toHaveLength(14);
});

test("a page of nothing but waiting ones is read past", async () => {
  const asked: (string | undefined)[] = [];
  const got = await decidedPage(undefined, async (cursor) => {
    asked.push(cursor);
    return cursor ? { data: [denied], has_more: false } : { data: [approval(1)], has_more: true, next_cursor: "c1" };
  });
  expect([asked, got.data.map((a) => a.id)]).toEqual([[undefined, "c1"], [denied.id]]);
});

test("who holds the role approves once, with what the call would do before them", async () => {
  const seen = platform({ ...answers, "POST /tenants/{tenant}/approvals/{approval}/decision": () => approval(1, { status: "approved" }) });
  open("/approvals");
  const waiting = await screen.findByRole("list", { name: "Waiting" });
  expect(waiting.textContent).toContain("You asked for this yourself");
  expect(within(waiting).getAllByText("Pays 1250 EUR back.")).toHaveLength(2);
  expect(within(waiting).getAllByRole("button", { name: /^Approve/ })).toHaveLength(1);
  expect(await screen.findByText("Refunded last week.")).toBeTruthy();
  await accessible();
  await userEvent.click(within(waiting).getByRole("button", { name: "Approve: Issue a refund, asked by fred@acme.test" }));
  const dialog = await screen.findByRole("dialog", { name: "Approve the call" });
  await userEvent.click(within(dialog).getByRole("button", { name: "Show all 900 characters of note" }));
  expect(within(dialog).getByText("x".repeat(900))).toBeTruthy();
  await userEvent.click(within(dialog).getByRole("button", { name: "Approve once" }));
  await waitFor(() => expect(seen.find((s) => s.method === "POST")?.body).toEqual({ decision: "approve" }));
  expect(seen.find((s) => s.method === "POST")!.params.approval).toBe(id(1));
});

test("a denial needs a reason, and who was slower is told so", async () => {
  const seen = platform({ ...answers, "POST /tenants/{tenant}/approvals/{approval}/decision": () => problem(409, "conflict", "It was decided already.") });
  open("/approvals");
  await userEvent.click(await screen.findByRole("button", { name: /^Deny/ }));
  const dialog = await screen.findByRole("dialog", { name: "Deny the call" });
  await userEvent.click(within(dialog).getByRole("button", { name: "Deny" }));
  expect(await within(dialog).findByText(/Say why/)).toBeTruthy();
  expect(seen.some((s) => s.method === "POST")).toBe(false);
  fireEvent.change(within(dialog).getByLabelText(/^Reason/), { target: { value: "Not this customer" } });
  await userEvent.click(within(dialog).getByRole("button", { name: "Deny" }));
  expect(await within(dialog).findByText("Somebody was faster")).toBeTruthy();
  expect(seen.find((s) => s.method === "POST")!.body).toEqual({ decision: "deny", reason: "Not this customer" });
});

test("the link of a mail opens one approval, whole", async () => {
  platform(answers);
  open(`/approvals/${id(1)}`);
  expect(await screen.findByText("Pays 1250 EUR back.")).toBeTruthy();
  expect(screen.getByRole("button", { name: /^Approve/ })).toBeTruthy();
  expect(screen.getByText("It waits", { exact: false })).toBeTruthy();
  await accessible();
});

test("an approval that is not there, or not one's to see, is no error", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/approvals/{approval}": () => problem(404, "not_found", "No.") });
  open(`/approvals/${id(9)}`);
  expect(await screen.findByText("There is no such approval")).toBeTruthy();
});

test("nothing waiting is good news, a filter without a match another thing", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/approvals": () => page() });
  open("/approvals?status=denied&server=orders");
  expect(await screen.findByText("Nothing waits")).toBeTruthy();
  expect(await screen.findByText("No approval matches")).toBeTruthy();
});

test("a list that does not load says so", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/approvals": () => problem(503, "platform_store_unavailable", "Wait a moment.") });
  open("/approvals");
  expect((await screen.findAllByText("Wait a moment.")).length).toBeGreaterThan(0);
});

test("the navigation counts those one may decide, and no others", async () => {
  platform(answers);
  open("/approvals");
  expect(await screen.findByRole("link", { name: "Approvals 1 wait for you" })).toBeTruthy();
});
