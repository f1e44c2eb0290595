import { exactDay } from "~/lib/time";
import { count, list } from "~/lib/words";

export interface Note {
  key: string;
  name: string;
  says: string;
  /** Where it leads: records of another call, an approval, a page. */
  call?: string;
  approval?: string;
  task?: string;
  to?: "/limits" | "/switches" | "/deprecations";
  grave?: boolean;
}

const found: Record<string, string> = { email: "e-mail address", phone: "phone number", card: "card number", iban: "IBAN", national_id: "national id" };
const limits: Record<string, string> = { tenant: "of the tenant", user: "of the person", session: "of the session", tool: "of the tool" };

const asked: Record<string, string> = { "elicitation/create": "question", "sampling/createMessage": "request for the model", "roots/list": "request for its folders", elicitation: "question", sampling: "request for the model", roots: "request for its folders" };

/** `{email: 2, card: 1}`: "2 e-mail addresses and 1 card number". A list of names counts each once. */
export function counted(value: unknown, names: Record<string, string> = {}): string {
  const word = (name: string) => names[name] ?? name.replaceAll("_", " ");
  if (Array.isArray(value)) return list(value.map((v) => word(String(v))));
  if (typeof value === "object" && value !== null) return list(Object.entries(value).map(([name, n]) => (typeof n === "number" ? count(n, word(name), plural(word(name))) : word(name))));
  return word(String(value));
}
const plural = (word: string) => (/(s|x|ch)$/.test(word) ? `${word}es` : `${word}s`);

const known: Record<string, (value: unknown) => Omit<Note, "key">> = {
  replay_of: (v) => ({ name: "A repeat", says: "It got the answer of an earlier call and acted no second time.", call: String(v) }),
  confirmation: (v) => ({ name: "Confirmed", says: `The caller saw the dry run and confirmed it (${String(v)}).` }),
  approval: (v) => ({ name: "Approval", says: "Somebody else's consent was asked for.", approval: String(v) }),
  repeats: (v) => ({ name: "In a loop", says: typeof v === "number" ? `The ${ordinal(v)} identical call of the session within a minute.` : "The session made the identical call again and again." }),
  limit: (v) => ({ name: "Limit", says: `The limit ${limits[String(v)] ?? `“${String(v)}”`} was reached.`, to: "/limits" }),
  switch: (v) => ({ name: "Kill switch", says: `Switched off: ${String(v)}.`, to: "/switches" }),
  masked: (v) => ({ name: "Masked", says: `${counted(v, found)}.` }),
  withheld: (v) => ({ name: "Withheld", says: `Credentials that did not leave: ${counted(v)}.`, grave: true }),
  flagged: (v) => ({ name: "Flagged", says: `A text tells the model what to do: ${counted(v)}.`, grave: true }),
  kept: (v) => ({ name: "Too large to give inline", says: `A summary and a link went out; the whole is kept as ${String(v)}.` }),
  deprecated: (v) => ({ name: "Deprecated", says: `The tool ends on ${/^\d{4}-\d\d-\d\d/.test(String(v)) ? exactDay(String(v).slice(0, 10)) : String(v)}; the answer said so.`, to: "/deprecations" }),
  revision: (v) => ({ name: "Older revision", says: `The session listed the tools before and went on with revision ${String(v)}.` }),
  asked: (v) => ({ name: "Asked the caller", says: `The server asked in the middle of the call: ${counted(v, asked)}.` }),
  typed: (v) => ({ name: "Completions", says: `This record stands for ${typeof v === "number" ? count(v, "completion") : "completions"} while somebody typed.` }),
  task: (v) => ({ name: "Task", says: "The call runs as a task, or is about one.", task: String(v) }),
  omitted: () => ({ name: "Notes", says: "There was more to say than fits a record." }),
};

function ordinal(n: number): string {
  const suffix = n % 100 >= 11 && n % 100 <= 13 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${suffix}`;
}

/** How a call was kept safe, in words; what a newer platform notes is shown as it is. */
export function noteWords(notes: Record<string, unknown> | undefined): Note[] {
  return Object.entries(notes ?? {}).filter(([, v]) => v !== null && v !== false && v !== "").map(([key, value]) => ({
    key, ...(known[key]?.(value) ?? { name: key.replaceAll("_", " "), says: typeof value === "string" ? value : JSON.stringify(value) }),
  }));
}
