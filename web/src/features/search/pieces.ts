/** Cut a text at its highlights, which count code points. */
export function piecesOf(text: string, highlights: readonly [number, number][]): { text: string; found: boolean }[] {
  const points = [...text];
  const pieces: { text: string; found: boolean }[] = [];
  let at = 0;
  for (const [start, end] of highlights) {
    if (start > at) pieces.push({ text: points.slice(at, start).join(""), found: false });
    pieces.push({ text: points.slice(start, end).join(""), found: true });
    at = end;
  }
  if (at < points.length) pieces.push({ text: points.slice(at).join(""), found: false });
  return pieces;
}
