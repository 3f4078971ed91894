import { createParser } from "eventsource-parser";
import { errorOf, unreachable } from "./client";
import type { Problem } from "./schema";

/** One event of a run; `id` null: it is not stored, and a resumed stream sends its words again. */
export interface RunEvent {
  id: number | null;
  type: string;
  data: Record<string, unknown>;
}

/** Read the events of an answer to a request. Throws ApiError; ends when the stream does, whyever it does. */
export async function* eventsOf(asked: Promise<Response>): AsyncGenerator<RunEvent> {
  let response;
  try {
    response = await asked;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (!response.ok || response.body === null) {
    const problem = (await response.json().catch(() => undefined)) as Partial<Problem> | undefined;
    throw errorOf(response.status, problem);
  }
  const found: RunEvent[] = [];
  let reached: number | null = null;
  const parser = createParser({
    onEvent: ({ id, event, data }) => {
      if (id !== undefined) reached = Number(id);
      found.push({ id: id === undefined ? null : Number(id), type: event ?? "message", data: parse(data) });
    },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parser.feed(value);
      reached = idAlone(value) ?? reached;
      yield* found.splice(0);
      if (reached !== null) yield { id: reached, type: "reached", data: {} };
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** Return the last id that stands alone in a block: all up to there has been sent. The parser reports no such block. */
export function idAlone(text: string): number | null {
  let last: number | null = null;
  for (const match of text.matchAll(/(?:^|\n\n)id: (\d+)\n(?=\n)/g)) last = Number(match[1]);
  return last;
}

function parse(data: string): Record<string, unknown> {
  const value: unknown = JSON.parse(data);
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
