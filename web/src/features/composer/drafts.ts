const KEY = "chatkeep.draft.";
const memory = new Map<string, string>();

/** What was written and not sent, for each session; kept by the browser, or by the page where it keeps nothing. */
export function readDraft(name: string): string {
  try {
    return localStorage.getItem(KEY + name) ?? memory.get(name) ?? "";
  } catch {
    return memory.get(name) ?? "";
  }
}

export function writeDraft(name: string, text: string): void {
  try {
    if (text) localStorage.setItem(KEY + name, text);
    else localStorage.removeItem(KEY + name);
    memory.delete(name);
  } catch {
    memory.set(name, text);
  }
}
