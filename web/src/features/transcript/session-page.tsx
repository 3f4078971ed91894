import { useNavigate, useSearch } from "@tanstack/react-router";
import { RefreshCw } from "lucide-react";
import { lazy, Suspense, useCallback, useEffect, useMemo, useState } from "react";
import { ApiError } from "@/api/client";
import { usePlace } from "@/app/place";
import { Composer } from "@/features/composer/composer";
import { markSeen, titleOf, useSession } from "@/features/sessions/data";
import { useStore } from "@/lib/store";
import { moment } from "@/lib/time";
import { tellError } from "@/ui/toasts";
import { entriesOf, type Entry, isMessage, letGoOfOlder, textOf, useMessages } from "./data";
import { ask, askAgain, dismiss, follow, type Live, liveOf, lives, stop } from "./live";
import { MessageView } from "./message";
import { Text } from "./prose";
import { Transcript } from "./transcript";

const Inspector = lazy(() => import("@/features/inspector/inspector").then((found) => ({ default: found.Inspector })));

export function SessionPage() {
  const { app, session } = usePlace();
  return session === null ? null : <Conversation key={`${app}/${session}`} app={app} session={session} />;
}

function Conversation({ app, session }: { app: string; session: string }) {
  const { at } = useSearch({ from: "/$app/session/$session" });
  const navigate = useNavigate();
  const live = useStore(lives, liveOf(app, session));
  const isNew = live !== undefined && live.after === 0 && live.runId === null;
  const record = useSession(app, session, !isNew);
  const around = at ?? null;
  const messages = useMessages(app, session, around, !isNew);
  const [inspected, setInspected] = useState<number | null>(null);
  const entries = useMemo(() => entriesOf(messages.data), [messages.data]);
  const activeRun = record.data?.active_run_id ?? null;
  const isStored = live != null && live.storedAt !== null && entries.some((entry) => entry.seq === live.storedAt);
  const refused = live?.phase === "failed";
  const busy = live !== undefined ? !refused && !isStored : activeRun !== null;

  useEffect(() => {
    if (record.data) markSeen(record.data);
    document.title = record.data ? `${titleOf(record.data)} · Chatkeep` : "Chatkeep";
  }, [record.data]);

  // A question that could not be sent stays until it is sent again or dismissed, whoever else is being answered.
  const isIdle = live === undefined;
  useEffect(() => {
    if (activeRun && isIdle) void follow(app, session, activeRun);
  }, [activeRun, app, session, isIdle]);

  const latest = useCallback(() => {
    if (around !== null) void navigate({ to: "/$app/session/$session", params: { app, session }, search: {}, replace: true });
  }, [around, navigate, app, session]);

  // 0 would mean that there is no such session yet.
  const after = entries.at(-1)?.seq ?? record.data?.last_seq ?? 1;
  const send = useCallback((message: string, choice: { model: string | null; agent: string | null }) => {
    latest();
    ask({ app, session, message, ...choice, after });
  }, [app, session, latest, after]);
  const onEdit = useCallback((seq: number, message: string) => ask({ app, session, message, edit: seq, after }), [app, session, after]);
  const onAgain = useCallback((seq: number) => ask({ app, session, message: "", regenerate: seq, after }), [app, session, after]);
  const onSuggest = useCallback((message: string) => ask({ app, session, message, after }), [app, session, after]);

  const onEnd = useCallback(() => letGoOfOlder(app, session), [app, session]);

  const shown = useMemo(() => {
    const from = isStored ? null : (live?.fromSeq ?? null);
    const kept = from === null ? entries : entries.filter((entry) => entry.seq < from);
    const last = kept.at(-1);
    // The question is stored as soon as its run is known, and may be where that was not heard: it is not shown twice.
    const isIt = (entry: Entry) =>
      live !== undefined && entry.seq > live.after && isMessage(entry) && entry.role === "user" && textOf(entry) === live.question;
    const asked = live?.runId != null ? last !== undefined && "role" in last && last.role === "user" : kept.some(isIt);
    return { kept, asked };
  }, [entries, live, isStored]);

  const render = useCallback(
    (entry: Entry, isLast: boolean) => (
      <MessageView
        app={app}
        session={session}
        entry={entry}
        busy={busy || refused}
        isLast={isLast && (live === undefined || isStored)}
        marked={entry.seq === around}
        onEdit={onEdit}
        onAgain={onAgain}
        onInspect={setInspected}
        onSuggest={onSuggest}
      />
    ),
    [app, session, busy || refused, live === undefined || isStored, around, onEdit, onAgain, onSuggest],
  );

  if (live === undefined && (record.error ?? messages.error) && entries.length === 0) {
    const error = record.error ?? messages.error;
    const isGone = error instanceof ApiError && error.status === 404;
    return (
      <div className="m-auto max-w-md p-6 text-center">
        <h1 className="mb-2 text-lg font-semibold">{isGone ? "This chat is not here" : "This chat cannot be shown now"}</h1>
        <p className="mb-4 text-dim">{isGone ? "It was deleted, or never existed." : error?.message}</p>
        {isGone ? (
          <button type="button" className="button button-primary" onClick={() => void navigate({ to: "/$app", params: { app } })}>New chat</button>
        ) : (
          <button type="button" className="button" onClick={() => { void record.refetch(); void messages.refetch(); }}><RefreshCw size={15} aria-hidden /> Try again</button>
        )}
      </div>
    );
  }
  return (
    <>
      <header className="flex h-12 shrink-0 items-center justify-center border-b border-line px-12">
        <h1 dir="auto" className="truncate text-sm font-semibold">{record.data ? titleOf(record.data) : "…"}</h1>
        {record.data?.expires_at && <span className="ms-3 shrink-0 text-xs text-dim">ends {moment(record.data.expires_at)}</span>}
      </header>
      <Transcript
        key={String(around)}
        entries={shown.kept}
        tail={live && !isStored && <Tail live={live} asked={shown.asked} />}
        tailKey={`${live?.text.length ?? 0} ${live?.phase ?? ""}`}
        render={render}
        hasOlder={messages.hasNextPage}
        hasNewer={messages.hasPreviousPage}
        isFetching={messages.isFetching}
        fetchOlder={() => void messages.fetchNextPage()}
        fetchNewer={() => void messages.fetchPreviousPage()}
        onEnd={onEnd}
        at={around}
      />
      <Announcer live={live} />
      <Composer
        app={app}
        draft={`${app}/${session}`}
        busy={busy}
        waits={refused}
        onSend={send}
        onStop={() => {
          const run = live?.runId ?? activeRun;
          if (run) void stop(app, run).catch(tellError);
        }}
      />
      <Suspense>
        {inspected !== null && <Inspector app={app} session={session} seq={inspected} close={() => setInspected(null)} />}
      </Suspense>
    </>
  );
}

/** The question that is not stored yet, and the answer that is being written. */
function Tail({ live, asked }: { live: Live; asked: boolean }) {
  const waits = live.phase === "reconnecting" ? "Reconnecting…" : live.phase === "queued" ? "Waiting for the answer before…" : null;
  return (
    <div className="flex flex-col gap-5 pt-5">
      {live.question !== null && !asked && (
        <div className="flex flex-col items-end">
          <div dir="auto" className={`max-w-[85%] rounded-2xl bg-soft px-4 py-2.5 break-words whitespace-pre-wrap ${live.phase === "failed" ? "opacity-70" : ""}`}>{live.question}</div>
        </div>
      )}
      {live.phase === "failed" ? (
        <div role="alert" className="flex flex-wrap items-center gap-2 rounded-xl border border-danger p-3 text-sm">
          <span className="flex-1">Not sent: {live.error}. Your words are kept.</span>
          <button type="button" className="button" onClick={() => askAgain(live)}><RefreshCw size={14} aria-hidden /> Try again</button>
          <button type="button" className="button" onClick={() => dismiss(live)}>Dismiss</button>
        </div>
      ) : (
        <article aria-label="Answer" aria-busy="true" data-testid="answering">
          {live.text ? <Text text={live.text} writing /> : <Thinking />}
          {waits && <p className="mt-2 text-sm text-dim">{waits}</p>}
        </article>
      )}
    </div>
  );
}

function Thinking() {
  return (
    <p className="flex gap-1 py-2" aria-label="The model is thinking">
      {[0, 1, 2].map((dot) => <span key={dot} className="size-2 animate-pulse rounded-full bg-dim" style={{ animationDelay: `${dot * 160}ms` }} />)}
    </p>
  );
}

/** Tells a screen reader that an answer begins and that it is complete, not each word of it. */
function Announcer({ live }: { live: Live | undefined }) {
  const [said, setSaid] = useState("");
  const phase = live?.phase;
  useEffect(() => {
    if (phase === "sending") setSaid("The question is sent.");
    else if (phase === "answering") setSaid("The answer is being written.");
    else if (phase === undefined) setSaid((before) => (before ? "The answer is complete." : ""));
  }, [phase]);
  return <p className="sr-only" role="status" aria-live="polite">{said}</p>;
}
