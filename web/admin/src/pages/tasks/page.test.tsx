import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import { platform, problem, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import type { Task } from "./words";

const task = (id: string, more: Partial<Task> = {}): Task => ({
  id, status: "running", message: "40 of 100 pages.", server: "reports", tool: "export_orders", risk: "read", member: "fred@acme.test", client: "cl1", call_id: "ca1", runs: 1, created_at: "2026-02-01T00:00:00Z", started_at: "2026-02-01T00:00:01Z", expires_at: "2026-02-02T00:00:00Z", ...more,
});
const failed = task("tk2", { status: "failed", code: "outcome_unknown", outcome_unknown: true, risk: "write", tool: "send_all", ended_at: "2026-02-01T00:00:11Z" });
const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/servers": () => ({ data: [], has_more: false }),
  "GET /tenants/{tenant}/tools": () => ({ data: [], has_more: false }),
  "GET /tenants/{tenant}/tasks": () => ({ data: [task("tk1"), failed], has_more: false }),
  "GET /tenants/{tenant}/tasks/{task}": ({ params }) => (params.task === "tk2" ? failed : task("tk1")),
};

test("what runs is shown, filtered in the address, and cancelled after a question", async () => {
  let asked = false;
  const seen = platform({
    ...answers,
    "GET /tenants/{tenant}/tasks/{task}": () => task("tk1", { cancel_asked: asked }),
    "PUT /tenants/{tenant}/tasks/{task}/cancellation": () => { asked = true; return task("tk1", { cancel_asked: true }); },
  });
  const { router } = open("/tasks?status=running&member=fred@acme.test");
  await userEvent.click(await screen.findByRole("link", { name: "export_orders" }));
  expect(seen.find((s) => s.path.endsWith("/tasks"))!.query.get("member")).toBe("fred@acme.test");
  const drawer = await screen.findByRole("dialog", { name: "Task" });
  expect(await within(drawer).findByText("40 of 100 pages.")).toBeTruthy();
  expect(router.state.location.search).toMatchObject({ task: "tk1", status: "running" });
  await accessible();
  await userEvent.click(within(drawer).getByRole("button", { name: "Cancel the task" }));
  const dialog = await screen.findByRole("dialog", { name: "Cancel export_orders" });
  expect(within(dialog).getByText(/What it has done by then stays done/)).toBeTruthy();
  await userEvent.click(within(dialog).getByRole("button", { name: "Cancel the task" }));
  await waitFor(() => expect(seen.some((s) => s.path.endsWith("/tk1/cancellation"))).toBe(true));
  expect(await within(drawer).findByRole("button", { name: "Asked to end" })).toBeTruthy();
});

test("what ended without anybody knowing how says so, leads to its records, and cannot be cancelled", async () => {
  platform(answers);
  open("/tasks?task=tk2");
  expect(await screen.findByText("It may or may not have taken effect")).toBeTruthy();
  expect(screen.getByRole("link", { name: "Its records" }).getAttribute("href")).toContain("call=ca1");
  expect(screen.queryByRole("button", { name: "Cancel the task" })).toBeNull();
  await accessible();
});

test("no task, no match, no permission, no answer and a forgotten one are five things", async () => {
  const none: Answers = { ...answers, "GET /tenants/{tenant}/tasks": () => ({ data: [], has_more: false }), "GET /tenants/{tenant}/tasks/{task}": () => problem(404, "not_found", "No.") };
  platform(none);
  const first = open("/tasks");
  expect(await screen.findByText("No task yet")).toBeTruthy();
  await accessible();
  first.unmount();
  const second = open("/tasks?tool=x&task=tk9");
  expect(await screen.findByText("No task matches")).toBeTruthy();
  expect(await screen.findByText("There is no such task")).toBeTruthy();
  second.unmount();
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: [] }) });
  const third = open("/tasks");
  expect(await screen.findByText("servers:read")).toBeTruthy();
  third.unmount();
  platform({ ...answers, "GET /tenants/{tenant}/tasks": () => problem(503, "platform_store_unavailable", "Wait a moment.") });
  open("/tasks");
  expect(await screen.findByText("Wait a moment.")).toBeTruthy();
});
