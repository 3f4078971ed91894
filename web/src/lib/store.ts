import { useSyncExternalStore } from "react";

/** A value that components watch, and anything may change. */
export class Store<T> {
  private readonly watchers = new Set<() => void>();

  constructor(private value: T) {}

  get = (): T => this.value;

  set(value: T): void {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const watcher of [...this.watchers]) watcher();
  }

  change(change: (value: T) => T): void {
    this.set(change(this.value));
  }

  watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  /** Wait for the next change. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      const stop = this.watch(() => {
        stop();
        resolve();
      });
    });
  }
}

export function useStore<T, Chosen>(store: Store<T>, choose: (value: T) => Chosen): Chosen {
  return useSyncExternalStore(store.watch, () => choose(store.get()));
}

/** A value that outlives the page, as JSON under a key; it is kept in memory where the browser keeps nothing. */
export function kept<T>(key: string, first: T): Store<T> {
  const store = new Store<T>(read(key, first));
  store.watch(() => {
    try {
      localStorage.setItem(key, JSON.stringify(store.get()));
    } catch {
      // The browser keeps nothing, or is full: the value stays for this page.
    }
  });
  window.addEventListener("storage", (event) => {
    if (event.key === key) store.set(read(key, first));
  });
  return store;
}

function read<T>(key: string, first: T): T {
  try {
    const text = localStorage.getItem(key);
    return text === null ? first : (JSON.parse(text) as T);
  } catch {
    return first;
  }
}
