/** One argument of a tool, as its input schema declares it. */
export interface Field {
  name: string;
  description: string;
  required: boolean;
  kind: "text" | "number" | "integer" | "boolean" | "choice" | "json";
  options: string[];
  example: string;
}

interface Property {
  type?: string | string[];
  description?: string;
  enum?: unknown[];
  default?: unknown;
  format?: string;
}

export function fieldsOf(schema: Record<string, unknown>): Field[] {
  const { properties = {}, required = [] } = schema as { properties?: Record<string, Property>; required?: string[] };
  return Object.entries(properties).map(([name, p]) => {
    const type = [p.type ?? "object"].flat().find((t) => t !== "null") ?? "object";
    const kind = p.enum ? "choice" : type === "string" ? "text" : type === "number" || type === "integer" || type === "boolean" ? type : "json";
    return { name, description: p.description ?? "", required: required.includes(name), kind, options: (p.enum ?? []).map(String), example: p.default === undefined ? (p.format ?? "") : String(p.default) };
  });
}

/** The arguments that what was typed stands for. What is left empty is not sent; what cannot be read goes as it is, so that the platform says what is wrong with it. */
export function argumentsOf(fields: readonly Field[], values: Record<string, string>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const { name, kind } of fields) {
    const text = values[name] ?? "";
    if (text === "") continue;
    out[name] = read(kind, text);
  }
  return out;
}

function read(kind: Field["kind"], text: string): unknown {
  switch (kind) {
    case "number":
    case "integer": return Number.isNaN(Number(text)) ? text : Number(text);
    case "boolean": return text === "true";
    case "json":
      try {
        return JSON.parse(text);
      } catch {
        return text;
      }
    default: return text;
  }
}
