export interface Address {
  email: string;
  name?: string;
}

const email = /^[^@\s<>,;]+@[^@\s<>,;]+$/;

/**
 * Reads addresses as people paste them: one a line or separated by commas or semicolons,
 * bare or as `Name <address>`. Repeated ones count once; what is none comes back in `bad`.
 */
export function parseAddresses(text: string): { good: Address[]; bad: string[] } {
  const good = new Map<string, Address>();
  const bad: string[] = [];
  for (const piece of text.split(/[,;\n]+/).map((p) => p.trim()).filter(Boolean)) {
    const named = /^"?([^"<]*?)"?\s*<([^>]+)>$/.exec(piece);
    const address = (named ? named[2]! : piece).trim().toLowerCase();
    if (!email.test(address) || address.length > 254) bad.push(piece);
    else if (!good.has(address)) good.set(address, named?.[1] ? { email: address, name: named[1].trim() } : { email: address });
  }
  return { good: [...good.values()], bad };
}
