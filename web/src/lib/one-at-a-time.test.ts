import { expect, test } from "vitest";
import { oneAtATime } from "./one-at-a-time";

test("calls that come meanwhile are answered by one more run, which begins after them", async () => {
  const ends: (() => void)[] = [];
  const work = oneAtATime(() => new Promise<void>((resolve) => ends.push(resolve)));

  const first = work();
  void work();
  const third = work();
  expect(ends).toHaveLength(1);
  ends[0]?.();
  await Promise.resolve();
  await Promise.resolve();
  expect(ends).toHaveLength(2);
  ends[1]?.();
  await Promise.all([first, third]);
  expect(ends).toHaveLength(2);

  void work();
  expect(ends).toHaveLength(3);
});

test("work that fails does not keep the next from being done", async () => {
  let runs = 0;
  const work = oneAtATime(() => {
    runs += 1;
    return runs === 1 ? Promise.reject(new Error("no")) : Promise.resolve();
  });

  await expect(work()).rejects.toThrow("no");
  await work();

  expect(runs).toBe(2);
});
