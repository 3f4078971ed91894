import { errorOf, unreachable, urlOf } from "@/api/client";
import type { ImportReport, Problem } from "@/api/schema";
import { cutBehind } from "./pieces";

const LEAST_PIECE = 1_000_000;
const MOST_PIECES = 40;

export interface Exported {
  chats: number;
  messages: number;
  bytes: number;
}

/** Fetch every chat as JSON lines, and tell how far it is. Throws ApiError; an export that breaks off gives nothing. */
export async function exportAll(app: string, tell: (sofar: Exported) => void): Promise<{ file: Blob; found: Exported }> {
  const response = await fetch(urlOf(app, "export")).catch(() => {
    throw unreachable();
  });
  if (!response.ok || response.body === null) throw errorOf(response.status, (await response.json().catch(() => undefined)) as Problem | undefined);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  const found = { chats: 0, messages: 0, bytes: 0 };
  const lines = new TextDecoder();
  let rest = "";
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw unreachable();
    });
    if (done) break;
    pieces.push(value);
    found.bytes += value.length;
    const whole = (rest + lines.decode(value, { stream: true })).split("\n");
    rest = whole.pop() ?? "";
    for (const line of whole) {
      if ((JSON.parse(line) as { kind: string }).kind === "session") found.chats += 1;
      else found.messages += 1;
    }
    tell({ ...found });
  }
  return { file: new Blob(pieces, { type: "application/x-ndjson" }), found };
}

/**
 * Bring in a file of JSON lines piece by piece, each of whole sessions, and tell after each how much of the file, 0 to 1,
 * has been taken, and what became of it. Throws ApiError; what was taken until then stays, and the same file again goes on.
 */
export async function importFile(app: string, file: File, tell: (part: number, report: ImportReport) => void): Promise<void> {
  let report: ImportReport | null = null;
  let at = 0;
  do {
    const end = await cutBehind(file, at + Math.max(LEAST_PIECE, file.size / MOST_PIECES));
    const response = await fetch(urlOf(app, "import"), {
      method: "POST",
      headers: { "Content-Type": "application/x-ndjson" },
      body: file.slice(at, end),
    }).catch(() => {
      throw unreachable();
    });
    if (!response.ok) throw errorOf(response.status, (await response.json().catch(() => undefined)) as Problem | undefined);
    report = sumOf(report, (await response.json()) as ImportReport);
    at = end;
    tell(file.size ? at / file.size : 1, report);
  } while (at < file.size);
}

function sumOf(one: ImportReport | null, other: ImportReport): ImportReport {
  if (one === null) return other;
  return {
    ...other,
    lines: one.lines + other.lines,
    created: one.created + other.created,
    continued: one.continued + other.continued,
    unchanged: one.unchanged + other.unchanged,
    conflict: one.conflict + other.conflict,
    invalid: one.invalid + other.invalid,
    messages: one.messages + other.messages,
    items: [...one.items, ...other.items],
  };
}

/** Let the browser save a file. */
export function download(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
