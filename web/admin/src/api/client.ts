import createClient, { type Middleware } from "openapi-fetch";
import { boot } from "~/boot";
import { problemOf } from "./problem";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** What was read, and the tag that a write of it must carry. Kept together, so that a refetch in the background cannot pass off a newer tag for older data. */
export interface Tagged<T> {
  data: T;
  etag: string;
}

const rules: Middleware = {
  onRequest({ request }) {
    // The platform answers a repeated key with the first answer, so a POST that is sent twice acts once.
    if (request.method === "POST" && !request.headers.has("Idempotency-Key")) request.headers.set("Idempotency-Key", crypto.randomUUID());
    return request;
  },
  async onResponse({ response }) {
    if (response.ok) return;
    if (response.status === 401) {
      signIn();
      await new Promise<never>(() => {}); // the page is about to go; nothing should flash meanwhile
    }
    throw await problemOf(response);
  },
};

export const api = createClient<paths>({ baseUrl: new URL(boot.api, location.href).href, credentials: "same-origin", fetch: (request) => fetch(request) });
api.use(rules);

let leaving = false;
export function signIn() {
  if (leaving) return;
  leaving = true;
  location.assign(signInURL(location));
}

export function signInURL({ pathname, search }: Pick<Location, "pathname" | "search">): string {
  return `${boot.console}/sign-in?return_to=${encodeURIComponent(pathname + search)}`;
}

/** Path parameters of a tenant's operation: `params: { path: at({ server: "orders" }) }`. */
export const at = <T extends object>(more: T = {} as T) => ({ tenant: boot.tenant, ...more });

type Answer<T> = Promise<{ data?: T; response: Response }>;

/** The body of an answer; failures have been thrown by then. */
export async function body<T>(answer: Answer<T>): Promise<T> {
  return (await answer).data as T;
}

export async function tagged<T>(answer: Answer<T>): Promise<Tagged<T>> {
  const { data, response } = await answer;
  return { data: data as T, etag: response.headers.get("ETag") ?? "" };
}
