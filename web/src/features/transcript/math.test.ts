import { expect, test } from "vitest";
import { withDollars } from "./math";

test.each([
  ["so \\(a^2\\) is", "so $$a^2$$ is"],
  ["so $a^2$ is", "so $$a^2$$ is"],
  ["let $x$, $y$ and $z$.", "let $$x$$, $$y$$ and $$z$$."],
  ["\\[\n  a \\\\[2pt]\n  b\n\\]", "$$\na \\\\[2pt]\nb\n$$"],
  ["before\n\n$$a + b$$\n\nafter", "before\n\n$$\na + b\n$$\n\nafter"],
  ["1. first\n   \\[ a \\]\n2. second", "1. first\n   $$\n   a\n   $$\n2. second"],
  ["that is \\[ a \\] there", "that is $$\\displaystyle a$$ there"],
])("a formula is marked in one way: %j", (text, marked) => {
  expect(withDollars(text)).toBe(marked);
});

test.each([
  "it costs $5 and then $10",
  "between $5-$10, US$6 or ($5) or ($6)",
  "$HOME and $PATH are set",
  "`$a$` and ``\\(b\\)`` are code",
  "```sh\necho $a $b$\n```",
  "~~~\n\\[ a \\]\n~~~\nafter",
  "a link \\\\[not a formula\\\\]",
  "no end \\( here",
])("what is no formula stays: %j", (text) => {
  expect(withDollars(text)).toBe(text);
});
