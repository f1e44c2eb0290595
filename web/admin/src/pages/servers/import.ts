import type { Schemas } from "~/api/client";

type Missing = Schemas["ImportMissing"];

const parts = (pointer: string) => pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));

/** Identifies what is missing: the same place may miss several. */
export const missingKey = (m: Missing) => `${m.where} ${m.name}`;

/** Puts what was missing of an imported server where it belongs; a secret becomes one that Vault keeps. */
export function fill(server: Schemas["ServerPut"], missing: readonly Missing[], values: Record<string, string>): Schemas["ServerPut"] {
  const out = structuredClone(server) as unknown as Record<string, unknown>;
  for (const m of missing) {
    const value = values[missingKey(m)] ?? "";
    if (value === "") continue;
    const keys = parts(m.where);
    const last = keys.pop();
    if (last === undefined) continue;
    let at = out;
    for (const key of keys) at = (at[key] ??= {}) as Record<string, unknown>;
    const hole = `{${m.name.replace(/^-+/, "")}}`;
    const was = at[last];
    at[last] = m.secret ? { secret: value } : typeof was === "string" && was.includes(hole) ? was.replaceAll(hole, value) : value;
  }
  return out as unknown as Schemas["ServerPut"];
}
