import { cleanup, fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import { platform, problem, Reply, type Answers } from "~/testing/platform";
import { accessible, dana, open } from "~/testing/render";
import { bigMatrix, matrix } from "./access.fixture";

const base = (more: Answers = {}): Answers => ({
  "GET /me": () => dana,
  "GET /tenants/{tenant}/access": () => new Reply(matrix, { etag: '"m1"' }),
  ...more,
});

const box = (name: string) => screen.findByRole("checkbox", { name });

test("what is changed is saved at once, with the tag of what was read", async () => {
  const saved = { ...matrix, open: [...matrix.open, 2, 3] };
  let now = { matrix, tag: '"m1"' };
  const seen = platform(base({
    "GET /tenants/{tenant}/access": () => new Reply(now.matrix, { etag: now.tag }),
    // Answers to writes carry no tag.
    "PATCH /tenants/{tenant}/access": () => {
      now = { matrix: saved, tag: '"m2"' };
      return saved;
    },
  }));
  open("/access");
  fireEvent.click(await box("viewer opens notes:write on orders"));
  expect((await box("viewer opens notes:write on orders, not saved yet")).getAttribute("aria-checked")).toBe("true");
  const bar = screen.getByRole("region", { name: "Changes that are not saved" });
  expect(bar.textContent).toContain("1 change viewer opens 1 scope");
  await userEvent.click(within(bar).getByRole("button", { name: "Save" }));
  await waitFor(() => expect(screen.queryByRole("region", { name: "Changes that are not saved" })).toBeNull());
  const patch = seen.find((s) => s.method === "PATCH")!;
  expect(patch.headers.get("If-Match")).toBe('"m1"');
  expect(patch.body).toEqual({ changes: [{ role: "viewer", server: "orders", scope: "notes:write", open: true }] });
  expect((await box("viewer opens notes:write on orders")).getAttribute("aria-checked")).toBe("true");

  // One goes on: the next change stands on what was saved.
  fireEvent.click(await box("viewer opens diagnostics on diagnostics"));
  await userEvent.click(screen.getByRole("button", { name: "Save" }));
  await waitFor(() => expect(seen.filter((s) => s.method === "PATCH")).toHaveLength(2));
  expect(seen.findLast((s) => s.method === "PATCH")!.headers.get("If-Match")).toBe('"m2"');
  expect(screen.queryByText("Somebody changed access meanwhile")).toBeNull();
});

test("who was slower keeps their changes and puts them on top", async () => {
  let version = 1;
  const theirs = { ...matrix, open: [...matrix.open, 2, 2] };
  platform(base({
    "GET /tenants/{tenant}/access": () => new Reply(version === 1 ? matrix : theirs, { etag: `"m${version}"` }),
    "PATCH /tenants/{tenant}/access": () => {
      version = 2;
      return problem(412, "conflict", "Read it again.");
    },
  }));
  open("/access");
  fireEvent.click(await box("viewer opens notes:write on orders"));
  await userEvent.click(screen.getByRole("button", { name: "Save" }));
  const alert = await screen.findByText("Somebody changed access meanwhile");
  expect(alert).toBeTruthy();
  await userEvent.click(screen.getByRole("button", { name: "Put my changes on top of theirs" }));
  expect((await box("viewer opens diagnostics on diagnostics")).getAttribute("aria-checked")).toBe("true");
  expect((await box("viewer opens notes:write on orders, not saved yet")).getAttribute("aria-checked")).toBe("true");
});

test("the keyboard alone selects, opens and undoes", async () => {
  platform(base());
  open("/access");
  const grid = await screen.findByRole("grid");
  grid.focus();
  // From the first server's row to the first cell of orders, then a range of two rows and two roles.
  fireEvent.keyDown(grid, { key: "ArrowDown" });
  fireEvent.keyDown(grid, { key: "ArrowDown" });
  fireEvent.keyDown(grid, { key: "ArrowDown" });
  fireEvent.keyDown(grid, { key: "ArrowRight" });
  fireEvent.keyDown(grid, { key: "ArrowDown", shiftKey: true });
  fireEvent.keyDown(grid, { key: "ArrowRight", shiftKey: true });
  expect(screen.getByRole("toolbar", { name: "Selection" }).textContent).toContain("4 cells selected");
  const active = document.getElementById(grid.getAttribute("aria-activedescendant")!);
  expect(active?.getAttribute("aria-label")).toBe("viewer opens refunds:write on orders");
  fireEvent.keyDown(grid, { key: " " });
  expect((await box("viewer opens refunds:write on orders, not saved yet")).getAttribute("aria-checked")).toBe("true");
  fireEvent.keyDown(grid, { key: "z", ctrlKey: true });
  expect((await box("viewer opens refunds:write on orders")).getAttribute("aria-checked")).toBe("false");
  fireEvent.keyDown(grid, { key: "z", ctrlKey: true, shiftKey: true });
  expect(await box("viewer opens refunds:write on orders, not saved yet")).toBeTruthy();
});

test("a server's cell opens all its scopes for a role", async () => {
  platform(base());
  open("/access");
  const all = await box("finance opens all of orders");
  expect(all.getAttribute("aria-checked")).toBe("mixed");
  fireEvent.click(all);
  expect((await box("finance opens all of orders, not saved yet")).getAttribute("aria-checked")).toBe("true");
});

test("of a large matrix only what is in sight exists", async () => {
  platform(base({ "GET /tenants/{tenant}/access": () => new Reply(bigMatrix(), { etag: '"m1"' }) }));
  open("/access");
  const grid = await screen.findByRole("grid");
  expect(grid.getAttribute("aria-rowcount")).toBe(String(500 + 25 + 1));
  expect(grid.getAttribute("aria-colcount")).toBe("51");
  expect(grid.querySelectorAll('[role="checkbox"]').length).toBeLessThan(600);
});

test("who may only read changes nothing", async () => {
  platform(base({ "GET /me": () => ({ ...dana, permissions: ["roles:read"] }) }));
  open("/access");
  const cell = await box("viewer opens notes:write on orders");
  fireEvent.click(cell);
  expect(cell.getAttribute("aria-checked")).toBe("false");
  expect(screen.getByRole("grid").getAttribute("aria-readonly")).toBe("true");
  expect(screen.queryByRole("button", { name: "New role" })).toBeNull();
});

test("who may not see it is told the permission", async () => {
  platform(base({ "GET /me": () => ({ ...dana, permissions: ["servers:read"] }) }));
  open("/access");
  expect(await screen.findByText("roles:read")).toBeTruthy();
  expect(screen.queryByRole("link", { name: "Access" })).toBeNull();
  await accessible();
});

test("a tenant without servers is told where scopes come from", async () => {
  platform(base({ "GET /tenants/{tenant}/access": () => new Reply({ roles: matrix.roles, scopes: [], open: [] }, { etag: '"m1"' }) }));
  open("/access");
  expect(await screen.findByText("No server is published yet")).toBeTruthy();
});

test("the page and its review are accessible", async () => {
  platform(base());
  open("/access?tools=true");
  await screen.findByRole("grid");
  await accessible();
  fireEvent.click(await box("viewer opens refunds:write on orders"));
  await userEvent.click(screen.getByRole("button", { name: "Review" }));
  expect(await screen.findByText(/cannot be undone. Apps still ask/)).toBeTruthy();
  await accessible();
  cleanup();
});
