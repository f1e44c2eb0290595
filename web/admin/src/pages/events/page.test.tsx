import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import type { Schemas } from "~/api/client";
import { platform, problem, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { eventKinds, explainEvent } from "~/lib/event-kinds";

const event = (n: number, more: Partial<Schemas["Event"]> = {}): Schemas["Event"] => ({
  id: `ev${String(n).padStart(18, "0")}`, at: "2026-01-01T00:00:00Z", kind: "secret_withheld", severity: "critical", detail: `A private key was withheld, ${n}.`, count: 1, member: "fred@acme.test", client: "cl1", server: "crm", tool: "read_note", call_id: "ca1", ...more,
});
const page = <T,>(...data: T[]) => ({ data, has_more: false });
const events = [event(1), event(2, { kind: "repeated_calls", severity: "warning", count: 14 }), event(3, { acknowledged_at: "2026-01-01T01:00:00Z", acknowledged_by: "olaf@acme.test" })];

const answers: Answers = {
  "GET /me": () => dana,
  "GET /tenants/{tenant}/events": ({ query }) => page(...events.filter((e) => query.get("open") !== "true" || !e.acknowledged_at)),
  "GET /tenants/{tenant}/servers": () => page(),
  "GET /tenants/{tenant}/clients": () => page(),
  "PUT /tenants/{tenant}/events/{safety_event}/acknowledgement": ({ params }) => event(1, { id: params.safety_event!, acknowledged_at: "2026-01-01T01:00:00Z" }),
};

test("each kind says what it means and what to do, a new one too", () => {
  for (const words of Object.values(eventKinds)) expect(words.means.length * words.todo.length).toBeGreaterThan(400);
  expect(explainEvent("from_the_future")).toMatchObject({ label: "from the future" });
});

test("filters stand in the URL, links lead on, and one is acknowledged", async () => {
  const seen = platform(answers);
  open("/events?kind=secret_withheld&server=crm");
  const list = await screen.findByRole("list", { name: "Events" });
  expect(Object.fromEntries(seen.find((s) => s.path.endsWith("/events") && s.query.has("kind"))!.query)).toEqual({ kind: "secret_withheld", server: "crm", limit: "50" });
  expect(within(list).getByText("14×")).toBeTruthy();
  expect(within(list).getAllByRole("link", { name: "the call in the audit" })[0]!.getAttribute("href")).toContain("/audit?call=ca1");
  expect(list.textContent).toContain("seen by olaf@acme.test");
  await accessible();
  await userEvent.click(within(list).getByRole("button", { name: "Acknowledge: Credential withheld, A private key was withheld, 1." }));
  await waitFor(() => expect(seen.filter((s) => s.method === "PUT").map((s) => s.params.safety_event)).toEqual([events[0]!.id]));
});

test("all that are shown and open are acknowledged together", async () => {
  const seen = platform(answers);
  open("/events");
  await userEvent.click(await screen.findByRole("button", { name: "Acknowledge all 2 shown" }));
  await waitFor(() => expect(seen.filter((s) => s.method === "PUT").map((s) => s.params.safety_event)).toEqual([events[0]!.id, events[1]!.id]));
});

test("the navigation counts the critical ones that are open", async () => {
  platform(answers);
  open("/events?open=yes");
  expect(await screen.findByRole("link", { name: "Events 1 critical and open" })).toBeTruthy();
});

test("who may only look acknowledges nothing, who may not look is told the permission", async () => {
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: ["events:read"] }) });
  const first = open("/events");
  await screen.findByRole("list", { name: "Events" });
  expect(screen.queryByRole("button", { name: /Acknowledge/ })).toBeNull();
  first.unmount();
  platform({ ...answers, "GET /me": () => ({ ...dana, permissions: [] }) });
  open("/events");
  expect(await screen.findByText("events:read")).toBeTruthy();
});

test("no event is not the same as no match, and a failure is neither", async () => {
  platform({ ...answers, "GET /tenants/{tenant}/events": ({ query }) => (query.get("kind") === "fan_out" ? page() : problem(503, "platform_store_unavailable", "Wait a moment.")) });
  const { router } = open("/events?kind=fan_out");
  expect(await screen.findByText("No event matches")).toBeTruthy();
  await router.navigate({ to: "/events", search: {} });
  expect(await screen.findByText("Wait a moment.")).toBeTruthy();
});
