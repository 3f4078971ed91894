import { expect, test } from "vitest";
import { piecesOf } from "./pieces";

test("highlights count code points, not units of UTF-16", () => {
  expect(piecesOf("🦊 a fox 🦊", [[4, 7]])).toEqual([
    { text: "🦊 a ", found: false },
    { text: "fox", found: true },
    { text: " 🦊", found: false },
  ]);
});

test("without highlights a text is one piece", () => {
  expect(piecesOf("fox", [])).toEqual([{ text: "fox", found: false }]);
});
