/** Leaves the console for an address that the platform gave; never for one that would run as a script here. */
export function visit(url: string) {
  const { protocol } = new URL(url);
  if (protocol !== "https:" && protocol !== "http:") throw new Error("The upstream's address is none that a browser goes to.");
  location.assign(url);
}
