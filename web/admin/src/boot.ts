import { z } from "zod/mini";

// Else zod asks, with its first object, whether code may be made from text: the page's policy forbids it and counts the try as a breach.
z.config({ jitless: true });

/** What the server knows and the page needs before it can ask: written into the index page. */
const Boot = z.object({
  mode: z.enum(["tenant", "ops"]),
  /** Slug; empty for operators. */
  tenant: z._default(z.string(), ""),
  tenantName: z._default(z.string(), ""),
  /** Path of the tenant, without a slash at its end. */
  base: z._default(z.string(), ""),
  /** Path of the console, without a slash at its end. */
  console: z.string(),
  api: z.string(),
});
export type Boot = z.infer<typeof Boot>;

/** Under `npm run dev` no Go server fills the page in; the paths below go to it through Vite's proxy. */
const development: Boot = { mode: "tenant", tenant: "acme", tenantName: "Acme", base: "/t/acme", console: "", api: "/t/acme/api/v1" };

export function parseBoot(content: string | undefined): Boot {
  if (!content || content === "__LATCHKEY__") return development;
  const boot = Boot.parse(JSON.parse(content));
  return { ...boot, base: trim(boot.base), console: trim(boot.console), api: trim(boot.api) };
}

const trim = (path: string) => path.replace(/\/+$/, "");
const meta = (name: string) => document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content;

export const boot = parseBoot(meta("latchkey"));
/** The nonce of this page's style elements; scripts have none, they come from files only. */
export const styleNonce = meta("style-nonce") ?? "";
