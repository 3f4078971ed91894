const turns = new Map<string, Promise<unknown>>();

/** Do what has the same name one after the other: two requests at once may arrive in the wrong order. */
export function inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
  const done = turns.get(name)?.then(work, work) ?? work();
  turns.set(name, done);
  const leave = () => turns.get(name) === done && turns.delete(name);
  done.then(leave, leave);
  return done;
}

/** Wait for all, then throw the first error, if there was one. */
export async function all(works: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(works)) if (result.status === "rejected") throw result.reason;
}
