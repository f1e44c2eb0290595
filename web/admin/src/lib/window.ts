/** Which rows of equal height a scrolled box shows, with some above and below. */
export function visibleRows(scrollTop: number, height: number, rowHeight: number, count: number, over = 10): { from: number; to: number } {
  const from = Math.max(0, Math.floor(scrollTop / rowHeight) - over);
  const to = Math.min(count, Math.ceil((scrollTop + height) / rowHeight) + over);
  return { from: Math.min(from, Math.max(0, count - 1)), to };
}
