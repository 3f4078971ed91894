import { expect, test } from "vitest";
import { all, inTurn } from "./in-turn";

test("what has the same name is done one after the other, whatever became of the one before", async () => {
  const begun: string[] = [];
  const ends: Record<string, (error?: Error) => void> = {};
  const work = (word: string) => () => {
    begun.push(word);
    return new Promise<string>((resolve, reject) => (ends[word] = (error) => (error ? reject(error) : resolve(word))));
  };

  const first = inTurn("a", work("first"));
  const second = inTurn("a", work("second"));
  const other = inTurn("b", work("other"));
  expect(begun).toEqual(["first", "other"]);

  ends.first?.(new Error("no"));
  await expect(first).rejects.toThrow("no");
  await Promise.resolve();
  expect(begun).toEqual(["first", "other", "second"]);
  ends.second?.();
  ends.other?.();
  expect(await Promise.all([second, other])).toEqual(["second", "other"]);

  void inTurn("a", work("third"));
  expect(begun.at(-1)).toBe("third");
});

test("an error is thrown when all have ended", async () => {
  let ended = false;
  const late = new Promise<void>((resolve) => setTimeout(resolve, 10)).then(() => void (ended = true));

  await expect(all([Promise.reject(new Error("no")), late])).rejects.toThrow("no");

  expect(ended).toBe(true);
});
