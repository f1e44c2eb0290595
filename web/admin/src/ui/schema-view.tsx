import { Badge, Table, Text } from "@mantine/core";
import { JsonView } from "./code";

interface JSONSchema {
  type?: string | string[];
  description?: string;
  properties?: Record<string, JSONSchema>;
  required?: string[];
  items?: JSONSchema;
  enum?: unknown[];
  default?: unknown;
  format?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
}

interface Row {
  path: string;
  schema: JSONSchema;
  required: boolean;
}

/** A JSON schema as a table of its fields; what is not an object is shown as it is. */
export function SchemaView({ schema, label }: { schema: Record<string, unknown> | undefined; label: string }) {
  if (!schema) return <Text size="sm" c="dimmed">Not declared.</Text>;
  const rows = flatten(schema as JSONSchema, "");
  if (rows.length === 0) {
    const fields = (schema as JSONSchema).properties;
    if (fields && Object.keys(fields).length === 0) return <Text size="sm" c="dimmed">No fields.</Text>;
    return <JsonView value={schema} label={label} />;
  }
  return (
    <Table.ScrollContainer minWidth={420} type="native" tabIndex={0} role="region" aria-label={`${label}, fields`}>
      <Table withTableBorder aria-label={label}>
        <Table.Thead>
          <Table.Tr><Table.Th scope="col">Field</Table.Th><Table.Th scope="col">Type</Table.Th><Table.Th scope="col">What it is</Table.Th></Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map(({ path, schema: field, required }) => (
            <Table.Tr key={path}>
              <Table.Th scope="row" fw={450}><span className="mono">{path}</span> {required && <Badge ml={4}>needed</Badge>}</Table.Th>
              <Table.Td className="nowrap">{typeWords(field)}</Table.Td>
              <Table.Td>{field.description} <Text span size="sm" c="dimmed">{bounds(field)}</Text></Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

function flatten(schema: JSONSchema, prefix: string, depth = 0): Row[] {
  if (depth > 4) return [];
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = prefix + name;
    const row = { path, schema: field, required: schema.required?.includes(name) ?? false };
    if (field.items?.properties) return [row, ...flatten(field.items, `${path}[].`, depth + 1)];
    return [row, ...flatten(field, `${path}.`, depth + 1)];
  });
}

export function typeWords({ type, items, format, enum: values }: JSONSchema): string {
  if (values) return "one of";
  const name = Array.isArray(type) ? type.filter((t) => t !== "null").join(" or ") : (type ?? "any");
  if (name === "array") return items?.type ? `list of ${[items.type].flat().join(" or ")}` : "list";
  return format ? `${name}, ${format}` : name;
}

function bounds({ enum: values, minimum, maximum, minLength, maxLength, pattern, default: byDefault }: JSONSchema): string {
  const parts: string[] = [];
  if (values) parts.push(values.map(String).join(", "));
  if (minimum !== undefined && maximum !== undefined) parts.push(`${minimum} to ${maximum}`);
  else if (minimum !== undefined) parts.push(`at least ${minimum}`);
  else if (maximum !== undefined) parts.push(`at most ${maximum}`);
  if (minLength) parts.push(`at least ${minLength} characters`);
  if (maxLength !== undefined) parts.push(`at most ${maxLength} characters`);
  if (pattern) parts.push(`matches ${pattern}`);
  if (byDefault !== undefined) parts.push(`default ${JSON.stringify(byDefault)}`);
  const all = parts.join("; ");
  return all && `${all.charAt(0).toUpperCase()}${all.slice(1)}.`;
}
