import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createMemoryHistory, RouterProvider } from "@tanstack/react-router";
import { render } from "@testing-library/react";
import axe from "axe-core";
import type { ReactNode } from "react";
import { expect } from "vitest";
import type { Schemas } from "~/api/client";
import { makeRouter } from "~/router";
import { resolver, theme } from "~/theme";

function Frame({ children }: { children: ReactNode }) {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false, staleTime: Infinity } } });
  return (
    <MantineProvider theme={theme} cssVariablesResolver={resolver} env="test">
      <QueryClientProvider client={client}>
        {children}
        <Notifications />
      </QueryClientProvider>
    </MantineProvider>
  );
}

/** Draws a part of a page. */
export const draw = (part: ReactNode) => render(<Frame>{part}</Frame>);

/** Opens the whole console at an address of its own, such as `/access?q=orders`. */
export function open(address: string) {
  const router = makeRouter(createMemoryHistory({ initialEntries: [address] }));
  return { router, ...render(<Frame><RouterProvider router={router as never} /></Frame>) };
}

export const dana: Schemas["Me"] = { kind: "member", id: "us1", name: "Dana Admin", email: "dana@acme.test", tenant: { slug: "acme", name: "Acme" }, roles: ["admin"], permissions: ["admin"] };

/** Fails with what axe finds. Colours are not computed here; the browser tests look at those. */
export async function accessible(root: Element = document.body) {
  const { violations } = await axe.run(root, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    rules: { "color-contrast": { enabled: false }, "target-size": { enabled: false } },
  });
  expect(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" | ")}`)).toEqual([]);
}
