// Adds up what a browser fetches before the console can paint, as the server sends it
// (brotli where there is a .br), and fails when it is more than the budget.
import { existsSync, readFileSync, statSync } from "node:fs";
import { brotliCompressSync } from "node:zlib";

const budget = 300 * 1024;
const dist = new URL("../dist/", import.meta.url);
const html = readFileSync(new URL("index.html", dist));

const names = new Set();
for (const [, name] of html.toString().matchAll(/(?:src|href)="\.\/([^"]+)"/g)) names.add(name);
// Chunks that the entry imports without waiting for anything, in case they are not named in the page.
for (const name of names) {
  if (!name.endsWith(".js")) continue;
  const code = readFileSync(new URL(name, dist), "utf8");
  for (const [, dep] of code.matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g)) names.add(`assets/${dep}`);
}

const rows = [["index.html", brotliCompressSync(html).length]];
for (const name of names) {
  const packed = new URL(`${name}.br`, dist);
  rows.push([name, statSync(existsSync(packed) ? packed : new URL(name, dist)).size]);
}
const total = rows.reduce((sum, [, size]) => sum + size, 0);
const kb = (size) => `${(size / 1024).toFixed(1)} KB`;
for (const [name, size] of rows.toSorted((a, b) => b[1] - a[1])) console.log(kb(size).padStart(10), name);
console.log(kb(total).padStart(10), `first load; the budget is ${kb(budget)}`);
if (total > budget) {
  console.error("The first load is over its budget. Move what the first page does not need behind a lazy route.");
  process.exit(1);
}
