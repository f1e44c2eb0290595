// Writes src/api/schema.d.ts from the platform's OpenAPI document, unless it is up to date.
import { existsSync, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const contract = new URL("../../../internal/api/openapi.yaml", import.meta.url);
const schema = new URL("../src/api/schema.d.ts", import.meta.url);

if (!existsSync(contract)) {
  console.error("internal/api/openapi.yaml is missing; the console is typed by it.");
  process.exit(1);
}
if (!existsSync(schema) || statSync(schema).mtimeMs < statSync(contract).mtimeMs) {
  await writeFile(schema, astToString(await openapiTS(contract, { alphabetize: false, defaultNonNullable: false })));
}
