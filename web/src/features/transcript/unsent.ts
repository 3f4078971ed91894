const PREFIX = "chatkeep.unsent.";
/** After that the tab that asks has its lock, and others may wait for it. */
const LOCKED_MS = 1_000;

/** What is asked of the service. */
export interface Ask {
  app: string;
  session: string;
  message: string;
  agent?: string | null;
  model?: string | null;
  /** Edit this user message, or answer this one again, instead of going on at the end. */
  edit?: number;
  regenerate?: number;
  /** The newest message that was known when it was asked; 0 where the session begins with it. */
  after: number;
}

/** A question that the service has not confirmed. Its key makes sending it twice the same as once. */
export interface Unsent extends Ask {
  key: string;
  /** When it was asked, in ms. */
  at: number;
}

/** What lets go of each question that this tab keeps, and of its lock. */
const held = new Map<string, () => void>();

/** Keep a question in the browser until it is let go. As long as this tab is open, no other one sends it. */
export function keepUnsent(question: Unsent): void {
  const letGo = hold(question.key);
  void navigator.locks?.request(PREFIX + question.key, () => letGo).catch(() => undefined);
  try {
    localStorage.setItem(PREFIX + question.key, JSON.stringify(question));
  } catch {
    // The browser keeps nothing, or is full: the question lives as long as the page.
  }
}

/** Let go of a question: it is stored, or not wanted any more. */
export function dropUnsent(key: string): void {
  try {
    localStorage.removeItem(PREFIX + key);
  } catch {
    // Nothing was kept.
  }
  held.get(key)?.();
  held.delete(key);
}

/** Let go of all questions of an app: no page that is opened later sends them. */
export function dropAllUnsent(app: string): void {
  for (const { key } of unsentOf(app)) dropUnsent(key);
}

/**
 * Hand over each question of an app that no open tab sends any more, the oldest first: what pages left behind that were
 * closed, and later what those leave that are open now.
 */
export function takeUnsent(app: string, take: (question: Unsent) => void): () => void {
  const ended = new AbortController();
  const look = (key: string) => {
    const found = () => {
      const question = unsentOf(app).find((each) => each.key === key);
      if (ended.signal.aborted || !question) return undefined;
      take(question);
      return hold(key);
    };
    if (held.has(key)) return;
    if (navigator.locks) void navigator.locks.request(PREFIX + key, { signal: ended.signal }, found).catch(() => undefined);
    else void found();
  };
  for (const { key } of unsentOf(app)) look(key);
  window.addEventListener(
    "storage",
    ({ key, newValue }) => {
      // Without locks it cannot be known whether the tab that keeps it is still there.
      if (!key?.startsWith(PREFIX) || newValue === null || !navigator.locks) return;
      window.setTimeout(() => look(key.slice(PREFIX.length)), LOCKED_MS);
    },
    { signal: ended.signal },
  );
  return () => ended.abort();
}

/** What the browser's lock waits for: that the question is let go. */
function hold(key: string): Promise<void> {
  return new Promise((resolve) => held.set(key, resolve));
}

function unsentOf(app: string): Unsent[] {
  try {
    return Object.keys(localStorage)
      .filter((name) => name.startsWith(PREFIX))
      .flatMap((name) => parse(localStorage.getItem(name)))
      .filter((question) => question.app === app)
      .sort((one, other) => one.at - other.at);
  } catch {
    return [];
  }
}

function parse(text: string | null): Unsent[] {
  try {
    return text === null ? [] : [JSON.parse(text) as Unsent];
  } catch {
    return [];
  }
}
