import { ApiError, api, told, urlOf } from "@/api/client";
import { eventsOf, type RunEvent } from "@/api/stream";
import { queries } from "@/app/query";
import { sessionKey, refetchLists } from "@/features/sessions/data";
import { newId } from "@/lib/ids";
import { Store } from "@/lib/store";
import { type Ask, dropAllUnsent, dropUnsent, keepUnsent, type Unsent } from "./unsent";

/** An answer that is being asked for, or written, in this page. */
export interface Live {
  /** Which one it is: what belongs to an earlier one must not touch a later one in its place. */
  readonly id: number;
  /** What was asked; null for an answer that somebody else has asked for, whose question is stored already. */
  readonly question: string | null;
  /** The message that the question replaces, or whose answer is asked for again; its own branch begins before it. */
  readonly fromSeq: number | null;
  readonly runId: string | null;
  readonly text: string;
  readonly phase: "sending" | "queued" | "answering" | "reconnecting" | "failed";
  readonly error: string | null;
  /** Where the answer is stored, once it is: from then on that is shown instead. */
  readonly storedAt: number | null;
  /** The newest message that was known when it was asked; 0 where the session begins with it. */
  readonly after: number;
  /** The question that was refused. Asked again, it has the same key: nothing is stored twice. */
  readonly refused: Unsent | null;
}

export const lives = new Store<Readonly<Record<string, Live>>>({});

const REPEATS = 4;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
/** Browsers let a page have 64 KiB of such requests under way. */
const MOST_CHARS_KEPT_ALIVE = 8_192;
/** After that, what was fetched is in the page. */
const RENDERED_MS = 50;

const place = (app: string, session: string) => `${app}/${session}`;

export function liveOf(app: string, session: string): (now: Readonly<Record<string, Live>>) => Live | undefined {
  return (now) => now[place(app, session)];
}

/** An answer in its place. */
interface At {
  app: string;
  session: string;
  id: number;
  /** The key of the question, as long as it is not known to be stored. */
  key: string | null;
}

let next = 1;

function get({ app, session, id }: At): Live | undefined {
  const live = lives.get()[place(app, session)];
  return live?.id === id ? live : undefined;
}

function set(at: At, change: Partial<Live>): void {
  const live = get(at);
  if (live) lives.change((now) => ({ ...now, [place(at.app, at.session)]: { ...live, ...change } }));
}

function begin(app: string, session: string, key: string | null, live: Partial<Live>): At {
  const id = next++;
  const fresh: Live = {
    id, question: null, fromSeq: null, runId: null, text: "", phase: "sending", error: null, storedAt: null,
    after: 0, refused: null,
  };
  lives.change((now) => ({ ...now, [place(app, session)]: { ...fresh, ...live } }));
  return { app, session, id, key };
}

function forget(app: string, session: string): void {
  lives.change((now) => {
    const { [place(app, session)]: _, ...others } = now;
    return others;
  });
}

/**
 * Ask, and show the answer as it comes. A lost connection is taken up again. Until the service has the question, the
 * browser keeps it: a page that is opened later sends it, if this one cannot.
 */
export function ask(asked: Ask): void {
  const question = { ...asked, key: newId(), at: Date.now() };
  keepUnsent(question);
  void put(question);
}

/** Send a question that another page has left, when nothing else is asked in its session here; false if it is refused. */
export async function takeUp(question: Unsent): Promise<boolean> {
  const now = () => liveOf(question.app, question.session)(lives.get());
  while (now()) await lives.next();
  await put(question);
  return now()?.phase !== "failed";
}

/** Send a question that was refused once more. */
export function askAgain(live: Live): void {
  if (live.refused) void put(live.refused);
}

/** Give up a question that was refused. */
export function dismiss(live: Live): void {
  if (!live.refused) return;
  dropUnsent(live.refused.key);
  forget(live.refused.app, live.refused.session);
}

/** Give up all questions of an app that are not known to be stored. */
export function dismissAll(app: string): void {
  dropAllUnsent(app);
  const isStored = ([name, live]: [string, Live]) => live.runId !== null || !name.startsWith(`${app}/`);
  lives.change((now) => Object.fromEntries(Object.entries(now).filter(isStored)));
}

async function put(question: Unsent): Promise<void> {
  const { app, session, message, key } = question;
  const isAgain = question.regenerate !== undefined;
  const at = begin(app, session, key, {
    question: isAgain ? null : message,
    fromSeq: question.edit ?? question.regenerate ?? null,
    after: question.after,
  });
  for (let failures = 0; ; failures += 1) {
    try {
      await hear(at, eventsOf(send(question, failures > 0)));
      return;
    } catch (error) {
      const refused = error instanceof ApiError ? error : new ApiError(0, "error", String(error));
      const live = get(at);
      if (!live) return;
      if (live.runId) return pursue(at, live.runId);
      if (!refused.isTemporary || failures >= REPEATS) {
        set(at, { phase: "failed", error: refused.message, refused: question });
        return;
      }
      set(at, { phase: "reconnecting" });
      await pause(failures);
    }
  }
}

/** Send a question; the first time so that it reaches the service although the page is left at once. */
function send({ app, session, message, agent, model, edit, regenerate, key }: Unsent, again: boolean): Promise<Response> {
  const own = `sessions/${encodeURIComponent(session)}`;
  const path =
    edit !== undefined ? `${own}/messages/${edit}/edit`
    : regenerate !== undefined ? `${own}/messages/${regenerate}/regenerate`
    : `${own}/chat`;
  const body = JSON.stringify({
    ...(regenerate === undefined ? { message } : {}),
    agent: agent ?? null,
    model: model ?? null,
  });
  return fetch(urlOf(app, path), {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key, Accept: "text/event-stream" },
    body,
    keepalive: !again && body.length <= MOST_CHARS_KEPT_ALIVE,
  });
}

const followed = new Set<string>();

/** Show an answer that is under way, from its first word; repeated calls do nothing. */
export async function follow(app: string, session: string, runId: string): Promise<void> {
  if (followed.has(runId)) return;
  await pursue(begin(app, session, null, { runId, phase: "answering" }), runId);
}

/** Hear a run to its end, however often the connection breaks. */
async function pursue(at: At, runId: string): Promise<void> {
  followed.add(runId);
  let after = 0;
  try {
    for (let failures = 0; get(at); failures += 1) {
      try {
        const events = eventsOf(
          fetch(urlOf(at.app, `runs/${encodeURIComponent(runId)}/events`), {
            headers: { Accept: "text/event-stream", ...(after ? { "Last-Event-ID": String(after) } : {}) },
          }),
        );
        await hear(at, events, (id) => {
          after = id;
          failures = 0;
        });
        return;
      } catch (error) {
        if (error instanceof ApiError && !error.isTemporary) {
          await settle(at);
          return;
        }
      }
      set(at, { phase: "reconnecting" });
      await pause(failures);
    }
  } finally {
    followed.delete(runId);
  }
}

/** Take in the events of a run to its end. Throws ApiError when they end before. */
async function hear(
  at: At,
  events: AsyncGenerator<RunEvent>,
  reached: (id: number) => void = () => undefined,
): Promise<void> {
  const { app, session } = at;
  let points = -1;
  for await (const { id, type, data } of events) {
    if (id !== null) reached(id);
    if (type === "run") {
      if (at.key !== null) dropUnsent(at.key);
      set(at, { runId: String(data.run_id), phase: data.status === "queued" ? "queued" : "answering" });
      void queries.invalidateQueries({ queryKey: sessionKey(app, session) });
    } else if (type === "delta") {
      const live = get(at);
      if (!live) return;
      if (points < 0) points = [...live.text].length;
      const offset = Number(data.offset);
      const said = [...String(data.text)];
      if (offset > points) throw new ApiError(0, "gap", "some words are missing");
      const news = said.slice(points - offset);
      points += news.length;
      set(at, { text: live.text + news.join(""), phase: "answering" });
    } else if (type === "done") {
      set(at, { storedAt: typeof data.message_seq === "number" ? data.message_seq : null });
      await settle(at);
      return;
    }
  }
  throw new ApiError(0, "cut", "the connection was lost");
}

/** The answer is stored: show what is stored instead. */
async function settle(at: At): Promise<void> {
  const { app, session } = at;
  await Promise.all([
    queries.invalidateQueries({ queryKey: ["messages", app, session] }),
    queries.invalidateQueries({ queryKey: sessionKey(app, session) }),
  ]).catch(() => undefined);
  await sleep(RENDERED_MS);
  if (get(at)) forget(app, session);
  void refetchLists();
}

export async function stop(app: string, runId: string): Promise<void> {
  await told(api.POST("/v1/apps/{app}/runs/{run_id}/cancel", { params: { path: { app, run_id: runId } } }));
}

/** Wait a while, longer each time; without a network, until there is one. */
async function pause(failures: number): Promise<void> {
  if (!navigator.onLine) await new Promise((resolve) => window.addEventListener("online", resolve, { once: true }));
  const wait = Math.min(FIRST_WAIT_MS * 2 ** failures, LONGEST_WAIT_MS);
  await sleep(wait * (1 + Math.random() / 2));
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => window.setTimeout(resolve, ms));
}
