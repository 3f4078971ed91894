import { createParser } from "eventsource-parser";
import { urlOf } from "./client";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/**
 * Call `changed` whenever something of the user's changed, in this tab or elsewhere, and after every gap in between.
 * Of all tabs one holds the feed, and tells the others.
 */
export function followChanges(app: string, changed: () => void): () => void {
  const ended = new AbortController();
  const channel = new BroadcastChannel(`chatkeep.changes.${app}`);
  channel.onmessage = changed;
  const tell = () => {
    changed();
    channel.postMessage(null);
  };
  const hold = async () => listen(app, tell, ended.signal);
  void ("locks" in navigator
    ? navigator.locks.request(`chatkeep.feed.${app}`, { signal: ended.signal }, hold)
    : hold()
  ).catch(() => undefined);
  window.addEventListener("online", changed, { signal: ended.signal });
  return () => {
    ended.abort();
    channel.close();
  };
}

async function listen(app: string, changed: () => void, signal: AbortSignal): Promise<void> {
  let known = "";
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    try {
      const response = await fetch(urlOf(app, "events"), { signal, headers: { Accept: "text/event-stream" } });
      if (response.ok && response.body !== null) {
        const parser = createParser({
          onEvent: ({ data }) => {
            const { version } = JSON.parse(data) as { version: string };
            if (version !== known) changed();
            known = version;
            wait = FIRST_WAIT_MS;
          },
        });
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          parser.feed(value);
        }
      }
    } catch {
      // Away: asked again below.
    }
    await new Promise((resolve) => window.setTimeout(resolve, wait));
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
}
