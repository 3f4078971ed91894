import { expect, test } from "vitest";
import { cutBehind } from "./pieces";

const session = (id: string) => `{"kind": "session", "id": "${id}"}`;
const message = (text: string) => JSON.stringify({ kind: "message", text });
const whole = [session("a"), message("ä".repeat(50)), message('{"kind": "session"}'), session("b"), message("x"), session("c"), message("end")].join("\n");
const file = new Blob([whole]);
const bytes = new TextEncoder().encode(whole);

function from(at: number): string {
  return new TextDecoder().decode(bytes.subarray(at)).split("\n")[0] ?? "";
}

test.each([
  [0, session("b")],
  [30, session("b")],
  [60, session("b")],
  [bytes.length - 70, session("c")],
])("a file is cut before a session: behind %d", async (at, line) => {
  expect(from(await cutBehind(file, at))).toBe(line);
});

test("a window that ends in a line, or is shorter than it, finds the same place", async () => {
  for (const window of [40, 130, 131, 200]) expect(from(await cutBehind(file, 0, window))).toBe(session("b"));
});

test("behind the last session there is only the end", async () => {
  expect(await cutBehind(file, bytes.length - 5)).toBe(bytes.length);
  expect(await cutBehind(new Blob(['{"role":"user","text":"a"}\n'.repeat(20)]), 10)).toBe(20 * 27);
});
