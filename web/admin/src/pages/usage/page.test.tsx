import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";

const numbers = (calls: number): Schemas["UsageNumbers"] => ({ calls, done: calls - 3, failed: 1, refused: 2, unknown: 0, p50_ms: 14, p95_ms: 41, p99_ms: 120, errors: { access: 2, downstream: 1 } });
const usage = (calls: number): Schemas["Usage"] => ({
  range: "7d", since: "2025-03-01T00:00:00Z", until: "2025-03-08T00:00:00Z", step_s: 7200, totals: numbers(calls), series: [{ at: "2025-03-01T00:00:00Z", numbers: numbers(calls) }],
  groups: [{ key: "issue_refund", server: "orders", numbers: numbers(calls) }], busiest: [{ member: "fred@acme.test", at: "2025-03-02T10:00:00Z", calls: 212 }],
});
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/usage": () => usage(1284),
  "GET /tenants/{tenant}/clients": () => ({ data: [], has_more: false }),
};

test("a click on a row narrows everything to it, and numbers lead to their records", async () => {
  const seen = platform(answers);
  const { router } = open("/usage?range=7d");
  expect((await screen.findByRole("group", { name: "Calls" })).textContent).toContain("1,284");
  expect(await screen.findByRole("table", { name: "Calls by outcome, newest first" })).toBeTruthy();
  expect(screen.getByText("looks like a loop")).toBeTruthy();
  const link = new URL(screen.getByRole("link", { name: "2 refused of issue_refund, in the audit" }).getAttribute("href")!, "http://x");
  expect(Object.fromEntries(link.searchParams)).toEqual({ range: "7d", server: "orders", tool: "issue_refund", outcome: "refused" });
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "issue_refund" }));
  await waitFor(() => expect(router.state.location.search).toEqual({ range: "7d", by: "member", server: "orders", tool: "issue_refund" }));
  await waitFor(() => expect(Object.fromEntries(seen.findLast((s) => s.path.endsWith("/usage"))!.query)).toEqual({ range: "7d", group_by: "member", server: "orders", tool: "issue_refund" }));
});

test("no call is said, with what to do", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/usage": () => ({ ...usage(1284), totals: { calls: 0, done: 0, failed: 0, refused: 0, unknown: 0 } }) });
  open("/usage?tool=echo");
  expect(await screen.findByText("No call in this time")).toBeTruthy();
  expect(screen.getByText(/Take a filter away/)).toBeTruthy();
});
