import { vi } from "vitest";
import type { paths } from "~/api/schema";

// Stands at the network's edge in unit tests only. What it answers is typed by the
// contract; that the platform does answer so is tested with the platform itself.

type Method = "get" | "put" | "post" | "delete" | "patch";
type Operation = { [P in keyof paths & string]: { [M in Method]: paths[P][M] extends object ? `${Uppercase<M>} ${P}` : never }[Method] }[keyof paths & string];
type Split<O> = O extends `${infer M} ${infer P}` ? (P extends keyof paths ? (Lowercase<M> extends keyof paths[P] ? paths[P][Lowercase<M>] : never) : never) : never;
type Body<O> = Split<O> extends { responses: infer R } ? { [S in keyof R]: S extends 200 | 201 | 202 ? (R[S] extends { content: { "application/json": infer B } } ? B : never) : never }[keyof R] : never;

export interface Seen {
  method: string;
  path: string;
  params: Record<string, string>;
  query: URLSearchParams;
  headers: Headers;
  body: unknown;
}

/** An answer that is no plain 200: another status, or with an ETag. */
export class Reply {
  constructor(
    readonly body: unknown,
    readonly init: { status?: number; etag?: string } = {},
  ) {}
}

export type Answers = { [O in Operation]?: (seen: Seen) => Body<O> | Reply | Promise<Body<O> | Reply> };

export const problem = (status: number, code: string, detail: string, more: object = {}) =>
  new Reply({ type: `https://latchkey.test/errors#${code}`, title: "Refused", status, code, category: "access", detail, request_id: "rq-test", ...more }, { status });

/** Answers `fetch` until the test ends, and keeps what was asked. */
export function platform(answers: Answers): Seen[] {
  const seen: Seen[] = [];
  const routes = Object.entries(answers).map(([operation, answer]) => {
    const [method, path] = operation.split(" ") as [string, string];
    const names = [...path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]!);
    return { method, names, pattern: new RegExp(`/api/v1${path.replace(/\{\w+\}/g, "([^/]+)")}$`), answer: answer as (seen: Seen) => unknown };
  });
  vi.stubGlobal("fetch", async (input: Request) => {
    const url = new URL(input.url);
    for (const route of routes) {
      const match = route.method === input.method && route.pattern.exec(url.pathname);
      if (!match) continue;
      const text = await input.clone().text();
      const asked: Seen = { method: input.method, path: url.pathname, query: url.searchParams, headers: input.headers, body: text ? JSON.parse(text) : undefined, params: Object.fromEntries(route.names.map((name, i) => [name, decodeURIComponent(match[i + 1]!)])) };
      seen.push(asked);
      const out = await route.answer(asked);
      const reply = out instanceof Reply ? out : new Reply(out);
      const status = reply.init.status ?? 200;
      const headers = new Headers({ "content-type": status < 400 ? "application/json" : "application/problem+json" });
      if (reply.init.etag) headers.set("ETag", reply.init.etag);
      return new Response(JSON.stringify(reply.body), { status, headers });
    }
    throw new Error(`no answer for ${input.method} ${url.pathname}`);
  });
  return seen;
}
