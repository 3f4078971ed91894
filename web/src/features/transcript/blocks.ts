/** Cut Markdown into blocks that can be read apart: at blank lines outside of code, formulas, lists and quotes. */
export function blocksOf(text: string): string[] {
  const blocks: string[] = [];
  let block: string[] = [];
  let fence = "";
  for (const line of text.split("\n")) {
    const inside = fence !== "";
    const mark = /^ {0,3}(`{3,}|~{3,}|\$\$)/.exec(line)?.[1];
    if (mark && !fence) fence = mark;
    else if (mark && fence && mark.startsWith(fence) && line.trim() === mark) fence = "";
    const begins = line.trim() !== "" && !/^(\s|[-*+>]\s|\d+[.)]\s|[-*+>]$)/.test(line);
    if (!inside && begins && block.at(-1)?.trim() === "") {
      blocks.push(block.join("\n"));
      block = [];
    }
    block.push(line);
  }
  blocks.push(block.join("\n"));
  return blocks;
}
