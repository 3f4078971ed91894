import { expect, test } from "vitest";
import { blocksOf } from "./blocks";

test("paragraphs are blocks, and together they are the text", () => {
  const text = "one\n\ntwo\nstill two\n\n## three\n";
  expect(blocksOf(text)).toEqual(["one\n", "two\nstill two\n", "## three\n"]);
  expect(blocksOf(text).join("\n")).toBe(text);
});

test("code is not cut at its blank lines, nor is a list or what belongs to it", () => {
  expect(blocksOf("```py\na\n\nb\n```\n\nend")).toEqual(["```py\na\n\nb\n```\n", "end"]);
  expect(blocksOf("- a\n\n- b\n\n  more of b\n\nend")).toEqual(["- a\n\n- b\n\n  more of b\n", "end"]);
  expect(blocksOf("~~~~\n~~~\n\n~~~~\n\nend")).toEqual(["~~~~\n~~~\n\n~~~~\n", "end"]);
});

test("code that is not closed yet is one block", () => {
  expect(blocksOf("say\n\n```js\nlet a;\n\nlet b")).toEqual(["say\n", "```js\nlet a;\n\nlet b"]);
});

test("a formula is one block", () => {
  expect(blocksOf("say\n\n$$\na\n\nb\n$$\n\nend")).toEqual(["say\n", "$$\na\n\nb\n$$\n", "end"]);
});
