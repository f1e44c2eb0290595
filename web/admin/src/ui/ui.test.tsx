import { MantineProvider, Stack } from "@mantine/core";
import { fireEvent, render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { expect, test, vi } from "vitest";
import { ProblemError } from "~/api/problem";
import { accessible, draw } from "~/testing/render";
import { CodeView, JsonView } from "./code";
import { ConfirmDialog } from "./confirm";
import { CopyField, SecretOnce } from "./copy";
import { DiffView, TextDiff } from "./diff";
import { Facts } from "./facts";
import { FilterBar } from "./filter-bar";
import { PermissionPicker } from "./permission-picker";
import { RiskMark } from "./risk";
import { SchemaView } from "./schema-view";
import { Section } from "./section";
import { StaleAlert } from "./stale";
import { DeniedState, EmptyState, ErrorState, LoadingState } from "./states";
import { RelativeTime } from "./time";

test("what pages share is accessible, all of it together", async () => {
  draw(
    <main>
      <Stack>
        <EmptyState title="Nothing" action={<button type="button">Do</button>}>Why.</EmptyState>
        <DeniedState permission="audit:read">Ask Dana.</DeniedState>
        <ErrorState error={new ProblemError(500, { title: "Broken", detail: "Try later.", code: "internal_error", request_id: "rq1", errors: [{ pointer: "/a", detail: "is wrong", fix: "correct it" }] })} onRetry={() => {}} />
        <LoadingState />
        <StaleAlert what="The role" onReload={() => {}} />
        <CopyField value="https://acme.test/mcp" label="MCP URL" />
        <SecretOnce value="lk_live_x" label="the key" />
        <CodeView value={"a: 1\nb: 2\n"} label="Spec" numbers />
        <JsonView value={{ a: 1 }} label="Answer" />
        <DiffView diff={{ same: false, changes: [{ verb: "changed", what: "tool", name: "t", fields: [{ field: "risk", before: "read", after: "write" }, { field: "statement", before: "a\nb", after: "a\nc" }] }] }} />
        <Facts facts={[["Host", "db"], ["None", undefined]]} label="Facts" />
        <RiskMark risk="destructive" />
        <RiskMark risk="read" bare />
        <Section title="Part"><RelativeTime at="2026-01-01T00:00:00Z" /></Section>
        <SchemaView label="Input" schema={{ type: "object", required: ["id"], properties: { id: { type: "integer", minimum: 1, maximum: 9 }, lines: { type: "array", items: { type: "object", properties: { sku: { type: "string" } } } } } }} />
        <PermissionPicker value={["roles:read"]} holds={["admin"]} onChange={() => {}} />
      </Stack>
    </main>,
  );
  expect(screen.getByText("rq1")).toBeTruthy();
  expect(screen.getByText("1 to 9.")).toBeTruthy();
  expect(screen.getByText("lines[].sku")).toBeTruthy();
  expect(screen.queryByText("None")).toBeNull();
  await accessible();
});

test("nothing is confirmed before the name is typed and the dry run has answered", async () => {
  const act = vi.fn(async () => {});
  const close = vi.fn();
  draw(
    <ConfirmDialog opened onClose={close} title="Delete orders" action="Delete" danger typed="orders" onConfirm={act}
      dryRun={{ key: ["x"], read: async () => ({ dry_run: true, effects: [{ what: "revisions", count: 4 }, { what: "grants", count: 0 }] }) }} />,
  );
  const button = await screen.findByRole("button", { name: "Delete" });
  expect(await screen.findByText("revisions", { exact: false })).toBeTruthy();
  expect(screen.queryByText("grants", { exact: false })).toBeNull();
  expect((button as HTMLButtonElement).disabled).toBe(true);
  await userEvent.type(screen.getByRole("textbox"), "order");
  expect((button as HTMLButtonElement).disabled).toBe(true);
  await userEvent.type(screen.getByRole("textbox"), "s{Enter}");
  await waitFor(() => expect(close).toHaveBeenCalledOnce());
  expect(act).toHaveBeenCalledOnce();
});

test("what fails keeps the dialog open and says why", async () => {
  const close = vi.fn();
  draw(<ConfirmDialog opened onClose={close} title="Revoke" action="Revoke" onConfirm={async () => { throw new ProblemError(409, { title: "Not now", detail: "The last admin stays.", code: "conflict" }); }} />);
  await userEvent.click(await screen.findByRole("button", { name: "Revoke" }));
  expect(await screen.findByText("The last admin stays.")).toBeTruthy();
  expect(close).not.toHaveBeenCalled();
  await accessible();
});

test("filters write the URL after one stops typing, and clear together", async () => {
  const seen: object[] = [];
  function Bar() {
    const [search, setSearch] = useState<{ q?: string; risk?: string; tab?: string }>({ risk: "read", tab: "x" });
    return <FilterBar search={search} onChange={(next) => { seen.push(next); setSearch(next); }} filters={[{ kind: "text", name: "q", label: "Name" }, { kind: "choice", name: "risk", label: "Risk", options: ["read", "write"] }]} />;
  }
  draw(<Bar />);
  await userEvent.type(screen.getByRole("searchbox", { name: "Name" }), "ord");
  await waitFor(() => expect(seen).toEqual([{ q: "ord", risk: "read", tab: "x" }]));
  await userEvent.click(screen.getByRole("button", { name: "Clear filters" }));
  expect(seen.at(-1)).toEqual({ tab: "x" });
  await accessible();
});

test("a change of several lines is shown line by line, with what is far away folded", () => {
  render(<MantineProvider env="test"><TextDiff before={Array.from({ length: 12 }, (_, i) => `l${i}`).join("\n")} after={Array.from({ length: 12 }, (_, i) => (i === 11 ? "new" : `l${i}`)).join("\n")} /></MantineProvider>);
  expect(screen.getByText("8 unchanged lines")).toBeTruthy();
  expect(screen.getByText("new")).toBeTruthy();
});

test("a diff begins with what goes", () => {
  draw(<DiffView diff={{ same: false, changes: [{ verb: "added", what: "tool", name: "b" }, { verb: "removed", what: "tool", name: "a" }] }} />);
  expect(screen.getAllByRole("listitem").map((li) => li.textContent)).toEqual(["Tool a removed", "Tool b added"]);
});

test("what one does not hold cannot be given", () => {
  const change = vi.fn();
  draw(<PermissionPicker value={[]} holds={["roles:write"]} onChange={change} />);
  expect((screen.getByRole("switch") as HTMLInputElement).disabled).toBe(true);
  expect((screen.getByRole("checkbox", { name: "See: Audit" }) as HTMLInputElement).disabled).toBe(true);
  fireEvent.click(screen.getByRole("checkbox", { name: "Change: Access" }));
  expect(change).toHaveBeenCalledWith(["roles:write", "roles:read"]);
});
