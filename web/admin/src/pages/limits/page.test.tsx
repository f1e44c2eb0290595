import { fireEvent, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { fields, limitsOf, schema, valuesOf } from "./model";

const own: Schemas["CallLimits"] = { user: { rate: "300/min", message: "Slower, please." }, repeats: { refuse: -1 } };
const state = (more: Partial<Schemas["LimitsState"]> = {}): Schemas["LimitsState"] => ({
  own, effective: own, tools: [{ server: "orders", tool: "issue_refund", all: { rate: "30/min", concurrency: 4 } }], store: "valkey",
  defaults: { tenant: { rate: "6000/min", burst: 1000, concurrency: 200 }, user: { rate: "600/min", burst: 100, concurrency: 32 }, session: { rate: "300/min", burst: 60, concurrency: 16 }, fan_out: { calls: 50 }, repeats: { notice: 5, refuse: 30 } }, ...more,
});
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/limits": () => new Reply(state(), { etag: '"l1"' }),
};
const type = (label: string, value: string) => fireEvent.change(screen.getByLabelText(label), { target: { value } });

test("what is read is what is sent, and what is empty is left out", () => {
  const all: Schemas["CallLimits"] = { tenant: { rate: "none", concurrency: -1 }, user: { rate: "5/s", burst: 2, message: "m" }, fan_out: { calls: -1 }, repeats: { notice: 3, refuse: 9 } };
  expect(limitsOf(valuesOf(all))).toEqual(all);
  expect(limitsOf(valuesOf({}))).toEqual({});
  expect(fields).toContain("session.concurrency");
});

test.each([["60/min", true], ["none", true], ["", true], ["0/min", false], ["60", false], ["60/minute", false]])("a rate of %j: %s", (rate, good) => {
  const values = valuesOf({});
  values.tool.rate = rate;
  expect(schema.safeParse(values).success).toBe(good);
});

test("one's own stands beside the default, goes back to it, and is saved with the tag", async () => {
  const seen = platform({ ...answers, "PUT /tenants/{tenant}/limits": () => state() });
  open("/limits");
  expect(((await screen.findByLabelText("Rate: Each person")) as HTMLInputElement).value).toBe("300/min");
  expect((screen.getByLabelText("Rate: The tenant") as HTMLInputElement).placeholder).toBe("6000/min (default)");
  expect((screen.getByLabelText("Refuse from the nth identical call on") as HTMLInputElement).value).toBe("never");
  expect(screen.getByRole("link", { name: "issue_refund" }).getAttribute("href")).toBe("/tools/orders/issue_refund");
  await accessible();
  await userEvent.click(screen.getByRole("button", { name: "Use the default: Rate: Each person" }));
  type("Running together: Each session", "any");
  await userEvent.click(screen.getByRole("button", { name: "Save the limits" }));
  await waitFor(() => expect(seen.some((s) => s.method === "PUT")).toBe(true));
  const put = seen.find((s) => s.method === "PUT")!;
  expect([put.headers.get("If-Match"), put.body]).toEqual(['"l1"', { user: { message: "Slower, please." }, session: { concurrency: -1 }, repeats: { refuse: -1 } }]);
});

test("what the platform says of a field stands beside it", async () => {
  platform({ ...answers, "PUT /tenants/{tenant}/limits": () => problem(422, "invalid_arguments", "Correct it.", { errors: [{ pointer: "/tool/burst", detail: "stands without a rate", fix: "write a rate" }] }) });
  open("/limits");
  await screen.findByLabelText("Rate: Each person");
  type("At once: Each tool", "5");
  await userEvent.click(screen.getByRole("button", { name: "Save the limits" }));
  expect(await screen.findByText("Stands without a rate. Write a rate.")).toBeTruthy();
});

test("who was slower is told so, and a wrong value is not sent", async () => {
  const seen = platform({ ...answers, "PUT /tenants/{tenant}/limits": () => problem(412, "stale", "Read it again.") });
  open("/limits");
  await screen.findByLabelText("Rate: Each person");
  type("Rate: Each tool", "many");
  await userEvent.click(screen.getByRole("button", { name: "Save the limits" }));
  expect(await screen.findByText(/^Such as 60\/min/)).toBeTruthy();
  expect(seen.some((s) => s.method === "PUT")).toBe(false);
  type("Rate: Each tool", "60/min");
  await userEvent.click(screen.getByRole("button", { name: "Save the limits" }));
  expect(await screen.findByText("Somebody changed this meanwhile")).toBeTruthy();
});

test("counting apart is explained, no tool with limits is said so, and who may only look changes nothing", async () => {
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: ["limits:read"] }), "GET /tenants/{tenant}/limits": () => new Reply(state({ store: "degraded", tools: [] }), { etag: '"l1"' }) });
  open("/limits");
  expect(await screen.findByText("Each edge counts for itself")).toBeTruthy();
  expect(screen.getByText("No tool has any")).toBeTruthy();
  expect((screen.getByLabelText("Rate: Each person") as HTMLInputElement).readOnly).toBe(true);
  expect(screen.queryByRole("button", { name: /Use the default/ })).toBeNull();
});

test("who may not see it is told the permission, and a failure says what it was", async () => {
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: [] }) });
  const first = open("/limits");
  expect(await screen.findByText("limits:read")).toBeTruthy();
  first.unmount();
  platform({ ...answers, "GET /tenants/{tenant}/limits": () => problem(503, "platform_store_unavailable", "Wait a moment.") });
  open("/limits");
  expect(await screen.findByText("Wait a moment.")).toBeTruthy();
});
