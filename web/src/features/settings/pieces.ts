const NEWLINE = 10;
const WINDOW = 4_500_000; // two of the longest lines

/** Return where the first session behind `at` begins, in bytes; the file's end, if there is none. */
export async function cutBehind(file: Blob, at: number, window = WINDOW): Promise<number> {
  let from = Math.ceil(at);
  while (from < file.size) {
    const bytes = new Uint8Array(await file.slice(from, from + window).arrayBuffer());
    let begin = bytes.indexOf(NEWLINE) + 1;
    for (let end = begin; begin > 0; begin = end + 1) {
      end = bytes.indexOf(NEWLINE, begin);
      if (end < 0) break;
      if (beginsSession(new TextDecoder().decode(bytes.subarray(begin, end)))) return from + begin;
    }
    from += begin > 1 && from + bytes.length < file.size ? begin - 1 : bytes.length;
  }
  return file.size;
}

function beginsSession(line: string): boolean {
  try {
    return (JSON.parse(line) as { kind?: unknown } | null)?.kind === "session";
  } catch {
    return false;
  }
}
