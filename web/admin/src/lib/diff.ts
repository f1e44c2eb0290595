export interface DiffLine {
  kind: "same" | "added" | "removed";
  text: string;
  /** Line numbers from 1 in the old and in the new text. */
  before?: number;
  after?: number;
}

/** Lines of two texts, the longest common run of lines kept: what `diff` prints. */
export function diffLines(before: string, after: string): DiffLine[] {
  const a = lines(before);
  const b = lines(after);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;

  const out: DiffLine[] = [];
  const same = (i: number, j: number) => out.push({ kind: "same", text: a[i]!, before: i + 1, after: j + 1 });
  for (let i = 0; i < head; i++) same(i, i);

  // Lengths of the longest common subsequence of what is left, from the end.
  const n = a.length - head - tail;
  const m = b.length - head - tail;
  const width = m + 1;
  const length = new Uint32Array((n + 1) * width);
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      length[i * width + j] = a[head + i] === b[head + j] ? length[(i + 1) * width + j + 1]! + 1 : Math.max(length[(i + 1) * width + j]!, length[i * width + j + 1]!);
    }
  }
  let i = 0;
  let j = 0;
  while (i < n || j < m) {
    if (i < n && j < m && a[head + i] === b[head + j]) {
      same(head + i++, head + j++);
    } else if (i < n && (j === m || length[(i + 1) * width + j]! >= length[i * width + j + 1]!)) {
      out.push({ kind: "removed", text: a[head + i]!, before: head + ++i });
    } else {
      out.push({ kind: "added", text: b[head + j]!, after: head + ++j });
    }
  }
  for (let k = tail; k > 0; k--) same(a.length - k, b.length - k);
  return out;
}

function lines(text: string): string[] {
  if (text === "") return [];
  return text.replace(/\n$/, "").split("\n");
}

/** Cuts out long runs without a change, leaving `context` lines around each change. */
export function fold(all: DiffLine[], context = 3): (DiffLine | { kind: "folded"; count: number })[] {
  const near = all.map(() => false);
  all.forEach((line, at) => {
    if (line.kind === "same") return;
    for (let k = Math.max(0, at - context); k <= Math.min(all.length - 1, at + context); k++) near[k] = true;
  });
  const out: (DiffLine | { kind: "folded"; count: number })[] = [];
  all.forEach((line, at) => {
    const last = out.at(-1);
    if (near[at]) out.push(line);
    else if (last?.kind === "folded") last.count++;
    else out.push({ kind: "folded", count: 1 });
  });
  return out;
}

/** `input_schema/properties/limit/maximum` as a person would say it: "Input limit: maximum". */
export function fieldName(path: string): string {
  const parts = path.split("/").filter(Boolean);
  const side = parts[0] === "input_schema" ? "Input" : parts[0] === "output_schema" ? "Output" : undefined;
  if (!side) return sentence(parts.join(" "));
  const rest = parts.slice(1).filter((part, at, all) => part !== "properties" || at % 2 === 1 || all[at - 1] === "properties");
  if (rest.length === 0) return side;
  if (parts[1] !== "properties") return `${side}: ${rest.join(" ").replaceAll("_", " ")}`;
  const [name, ...what] = rest;
  return what.length === 0 ? `${side} ${name}` : `${side} ${name}: ${what.join(" ").replaceAll("_", " ")}`;
}

function sentence(text: string): string {
  const words = text.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
