/** RFC 9457, with what the platform adds to it (docs/errors.md has the codes). */
export interface Problem {
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  request_id?: string;
  retry_after_s?: number;
  errors?: { pointer?: string; detail?: string; fix?: string; line?: number; column?: number }[];
}

export class ProblemError extends Error {
  override name = "ProblemError";
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.detail || problem.title || `The platform answered ${status}.`);
  }
  get code() {
    return this.problem.code ?? "";
  }
  get requestId() {
    return this.problem.request_id ?? "";
  }
}

/** Reads the answer of a failed request; whatever stands between may have answered in HTML. */
export async function problemOf(response: Response): Promise<ProblemError> {
  let problem: Problem = {};
  try {
    if (/json/.test(response.headers.get("content-type") ?? "")) problem = (await response.json()) as Problem;
  } catch {
    // An empty or cut body: the status alone has to do.
  }
  problem.request_id ??= response.headers.get("x-request-id") ?? undefined;
  return new ProblemError(response.status, problem);
}

const status = (error: unknown) => (error instanceof ProblemError ? error.status : 0);
export const isDenied = (error: unknown) => status(error) === 403;
export const isMissing = (error: unknown) => status(error) === 404;
/** Somebody wrote between our reading and our writing. */
export const isStale = (error: unknown) => status(error) === 412;

/** What to tell a person about anything that was thrown. */
export function explain(error: unknown): { title: string; detail: string; requestId: string } {
  if (error instanceof ProblemError) {
    const title = error.problem.title ?? "The platform refused this";
    return { title, detail: error.problem.detail ?? "", requestId: error.requestId };
  }
  if (error instanceof TypeError) {
    return { title: "The platform does not answer", detail: "The network is down or the platform is being restarted. Try again.", requestId: "" };
  }
  return { title: "The console failed", detail: error instanceof Error ? error.message : String(error), requestId: "" };
}

/**
 * Maps the places a problem names (JSON pointers into the request) to fields of a form,
 * whose paths are dotted: `/connection/admin/username` is `connection.admin.username`.
 * What fits no field comes back in `rest`, so that nothing the platform said is lost.
 */
export function fieldErrors(error: unknown, fields: readonly string[]): { fields: Record<string, string>; rest: string[] } {
  const out: { fields: Record<string, string>; rest: string[] } = { fields: {}, rest: [] };
  if (!(error instanceof ProblemError)) return out;
  for (const { pointer = "", detail = "", fix = "" } of error.problem.errors ?? []) {
    const path = pointerToPath(pointer);
    const text = [detail, fix].filter(Boolean).map(sentence).join(" ");
    // A problem below a field (an element of a list) belongs to that field.
    const field = fields.filter((f) => path === f || path.startsWith(`${f}.`)).toSorted((a, b) => b.length - a.length)[0];
    if (field === undefined) out.rest.push(path ? `${path}: ${text}` : text);
    else out.fields[field] = out.fields[field] ? `${out.fields[field]} ${text}` : text;
  }
  return out;
}

export function pointerToPath(pointer: string): string {
  return pointer
    .replace(/^#/, "")
    .split("/")
    .filter((part, i) => i > 0 || part !== "")
    .map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"))
    .join(".");
}

function sentence(text: string): string {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
