/** A plain text with its addresses apart, so that they can be followed. */
export function pieces(text: string): { text: string; link: boolean }[] {
  return text
    .split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)])/)
    .map((part, i) => ({ text: part, link: i % 2 === 1 }))
    .filter((p) => p.text !== "");
}
