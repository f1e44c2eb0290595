const plain = /^[A-Za-z_*][\w .*/-]*$/;
const reserved = /^(true|false|yes|no|on|off|null|y|n)$/i;

/** A text that YAML reads as just that: plain where it can be, else as JSON, which YAML holds. */
function scalar(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  const bare = plain.test(value) && !value.startsWith("*") && !reserved.test(value) && value === value.trim();
  return bare ? value : JSON.stringify(value);
}

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** JSON as YAML that a person would write. What stands at a key of `inline` stays JSON in one line: it is large and not for editing. */
export function toYAML(value: unknown, inline: readonly string[] = [], indent = ""): string {
  if (Array.isArray(value)) {
    return value.map((item) => {
      if (!isMap(item) || Object.keys(item).length === 0) return `${indent}- ${leaf(item)}\n`;
      return `${indent}- ${toYAML(item, inline, `${indent}  `).slice(indent.length + 2)}`;
    }).join("");
  }
  if (!isMap(value)) return `${indent}${scalar(value)}\n`;
  return Object.entries(value).map(([key, item]) => {
    const name = scalar(key);
    const nests = (isMap(item) ? Object.keys(item) : Array.isArray(item) ? item : []).length > 0 && !inline.includes(key);
    return nests ? `${indent}${name}:\n${toYAML(item, inline, Array.isArray(item) ? indent : `${indent}  `)}` : `${indent}${name}: ${leaf(item)}\n`;
  }).join("");
}

const leaf = (item: unknown) => (typeof item === "object" ? JSON.stringify(item) : scalar(item));
