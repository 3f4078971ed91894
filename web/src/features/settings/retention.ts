import type { Retention } from "@/api/schema";

const UNITS: readonly [seconds: number, word: string][] = [
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
  [1, "second"],
];

/** Say a span in the largest unit that it is made of. */
export function spanOf(seconds: number): string {
  const [size, word] = UNITS.find(([each]) => seconds >= each && seconds % each === 0) ?? [1, "second"];
  const count = Math.round((seconds / size) * 100) / 100;
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

/** Say what is kept, and for how long, a sentence for each rule. */
export function sentencesOf(kept: Retention): string[] {
  const rules = [
    kept.idle_seconds !== null && `A chat that is not pinned is gone ${spanOf(kept.idle_seconds)} after its last message.`,
    kept.age_seconds !== null && `What was said more than ${spanOf(kept.age_seconds)} ago is removed.`,
    kept.messages !== null && `A chat keeps its newest ${kept.messages.toLocaleString("en")} messages.`,
    kept.sessions !== null &&
      `Your newest ${kept.sessions.toLocaleString("en")} chats stay; older ones that are not pinned go to the trash.`,
  ].filter((rule) => rule !== false);
  const trash = `What you delete can be restored for ${spanOf(kept.trash_seconds)}.`;
  return [...(rules.length ? rules : ["Your chats are kept until you delete them."]), trash];
}
