import { screen } from "@testing-library/react";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { leftOf } from "./words";

const day = (n: number) => new Date(Date.now() + n * 86_400_000).toISOString().slice(0, 10);
const going: Schemas["DeprecatedTool"] = { server: "orders", tool: "find_orders", title: "Find orders", version: 1, deprecation: { since: day(-30), sunset: day(9), successor: "search_orders", gone: false }, calls: 412, members: ["fred@acme.test", "vic@acme.test"], last_call_at: "2026-01-01T00:00:00Z" };
const gone: Schemas["DeprecatedTool"] = { server: "crm", tool: "list_contacts", version: 2, deprecation: { sunset: day(-3), gone: true }, calls: 0, members: [] };
const answers: Answers = { "GET /me": () => dana, "GET /tenants/{tenant}/deprecations": () => ({ data: [going, gone] }) };

test("time left worries where the tool is still called, and what is gone is over", () => {
  const now = Date.parse("2026-06-01T12:00:00Z");
  const left = (sunset: string, calls: number, over = false) => leftOf({ sunset, gone: over }, calls, now);
  expect(left("2026-06-08", 3)).toEqual({ label: "7 days left", color: "red" });
  expect(left("2026-06-08", 0)).toEqual({ label: "7 days left", color: "amber" });
  expect(left("2026-06-02", 1)).toEqual({ label: "Goes within a day", color: "red" });
  expect(left("2026-12-01", 9)).toEqual({ label: "6 months left", color: "accent" });
  expect(left("2026-05-01", 9, true)).toEqual({ label: "Gone", color: "gray" });
});

test("what goes says until when, what comes instead, and who still calls it", async () => {
  platform(answers);
  open("/deprecations");
  expect(await screen.findByRole("link", { name: "Find orders" })).toBeTruthy();
  expect(screen.getByRole("link", { name: "search_orders" }).getAttribute("href")).toBe("/tools/orders/search_orders");
  expect(screen.getByText("412")).toBeTruthy();
  expect(screen.getByRole("link", { name: "vic@acme.test" })).toBeTruthy();
  expect(screen.getByRole("link", { name: "Revisions of orders" }).getAttribute("href")).toContain("tab=revisions");
  expect(screen.getByText("Gone")).toBeTruthy();
  await accessible();
});

test("nothing going, no permission and no answer are three things", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/deprecations": () => ({ data: [] }) });
  const first = open("/deprecations");
  expect(await screen.findByText("Nothing is going")).toBeTruthy();
  first.unmount();
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: [] }) });
  const second = open("/deprecations");
  expect(await screen.findByText("servers:read")).toBeTruthy();
  second.unmount();
  platform({ ...answers, "GET /tenants/{tenant}/deprecations": () => problem(503, "platform_store_unavailable", "Wait a moment.") });
  open("/deprecations");
  expect(await screen.findByText("Wait a moment.")).toBeTruthy();
});
