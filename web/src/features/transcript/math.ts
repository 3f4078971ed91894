const CODE = "(?:^|\\n) {0,3}(?<fence>`{3,}|~{3,})[^]*?(?:\\n {0,3}\\k<fence>[`~]*[ \\t]*(?=\\n|$)|$)|(?<ticks>`+)(?!`)[^]*?[^`]\\k<ticks>(?!`)";
const BLOCK = "(?<=^|\\n)(?<indent>[ \\t]*)(?:\\\\\\[(?<squared>[^]+?)\\\\\\]|\\$\\$(?<doubled>[^$]+?)\\$\\$)[ \\t]*(?=\\n|$)";
const INLINE = "(?<!\\\\)\\\\\\[(?<wide>[^\\n]+?)\\\\\\]|(?<!\\\\)\\\\\\((?<round>[^\\n]+?)\\\\\\)";
// A dollar sign is more often money: the formula must stand close to both, and no word or number close around them.
const DOLLARS = "(?<![\\\\$\\w])\\$(?![\\s$])(?<single>[^$\\n]*?[^\\s\\\\$])\\$(?![\\w$])";
const PLACES = new RegExp([CODE, BLOCK, INLINE, DOLLARS].join("|"), "g");

/**
 * Write every formula of a Markdown text between double dollar signs, whichever of the usual marks models put around it:
 * `\(…\)`, `\[…\]`, `$…$`, `$$…$$`. Code stays as it is, and so does money.
 */
export function withDollars(text: string): string {
  if (!/\$|\\[([]/.test(text)) return text;
  return text.replace(PLACES, (whole, ...rest) => {
    const found = rest.at(-1) as Record<string, string | undefined>;
    const block = found.squared ?? found.doubled;
    if (block !== undefined) {
      const { indent } = found;
      return [`${indent}$$`, ...block.trim().split("\n").map((line) => `${indent}${line.trim()}`), `${indent}$$`].join("\n");
    }
    if (found.wide !== undefined) return `$$\\displaystyle ${found.wide.trim()}$$`;
    const inline = found.round ?? found.single;
    return inline === undefined ? whole : `$$${inline.trim()}$$`;
  });
}
