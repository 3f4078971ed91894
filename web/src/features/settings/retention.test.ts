import { expect, test } from "vitest";
import { sentencesOf, spanOf } from "./retention";

const EVERYTHING = { idle_seconds: null, age_seconds: null, messages: null, sessions: null, trash_seconds: 604_800 };

test("spans are said in their largest whole unit", () => {
  expect([86_400, 604_800, 5_400, 3_600, 0.5].map(spanOf)).toEqual(["1 day", "7 days", "90 minutes", "1 hour", "0.5 seconds"]);
});

test("without rules everything is kept, but for the trash", () => {
  expect(sentencesOf(EVERYTHING)).toEqual([
    "Your chats are kept until you delete them.",
    "What you delete can be restored for 7 days.",
  ]);
});

test("each rule is a sentence", () => {
  const rules = { idle_seconds: 604_800, age_seconds: 2_592_000, messages: 200, sessions: 1_000, trash_seconds: 3_600 };
  expect(sentencesOf(rules)).toEqual([
    "A chat that is not pinned is gone 7 days after its last message.",
    "What was said more than 30 days ago is removed.",
    "A chat keeps its newest 200 messages.",
    "Your newest 1,000 chats stay; older ones that are not pinned go to the trash.",
    "What you delete can be restored for 1 hour.",
  ]);
});
