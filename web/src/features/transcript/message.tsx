import { Check, ChevronLeft, ChevronRight, Copy, Eye, Pencil, RefreshCw, ThumbsDown, ThumbsUp } from "lucide-react";
import { memo, type ReactNode, useState } from "react";
import type { Message } from "@/api/schema";
import { readDraft, writeDraft } from "@/features/composer/drafts";
import { useCopied } from "@/lib/copied";
import { moment, seconds } from "@/lib/time";
import { type Entry, isMessage, rate, switchTo, textOf } from "./data";
import { Judgement } from "./judgement";
import { Text } from "./prose";

interface Props {
  app: string;
  session: string;
  entry: Entry;
  busy: boolean;
  isLast: boolean;
  marked: boolean;
  onEdit: (seq: number, text: string) => void;
  onAgain: (seq: number) => void;
  onInspect: (seq: number) => void;
  onSuggest: (text: string) => void;
}

export const MessageView = memo(function MessageView(props: Props) {
  const { entry } = props;
  if (!isMessage(entry)) {
    return <p className="rounded-lg border border-line p-3 text-sm text-dim">Message {entry.seq} cannot be read: {entry.reason}. Its neighbours are not affected.</p>;
  }
  if (entry.redacted) return <p className="text-sm text-dim italic">This message was erased.</p>;
  return entry.role === "user" ? <Question {...props} message={entry} /> : <Answer {...props} message={entry} />;
});

function Question({ app, session, message, busy, marked, onEdit }: Props & { message: Message }) {
  // What is being written outlives the row, which leaves the page when it is scrolled away, and the page.
  const draft = `${app}/${session}/${message.seq}`;
  const [editing, setEditing] = useState<"begun" | "left" | null>(() => (readDraft(draft) ? "left" : null));
  const text = textOf(message);
  const end = () => {
    writeDraft(draft, "");
    setEditing(null);
  };
  if (editing) {
    return (
      <form
        className="ms-auto flex w-full max-w-[85%] flex-col gap-2 rounded-2xl border border-accent bg-card p-3"
        onSubmit={(event) => {
          event.preventDefault();
          const wording = String(new FormData(event.currentTarget).get("wording")).trim();
          end();
          if (wording) onEdit(message.seq, wording);
        }}
      >
        <textarea
          name="wording"
          aria-label="New wording"
          autoFocus={editing === "begun"}
          dir="auto"
          defaultValue={readDraft(draft) || text}
          rows={Math.min(12, text.split("\n").length + 1)}
          className="w-full resize-y bg-transparent outline-none"
          onChange={(event) => writeDraft(draft, event.target.value)}
        />
        <div className="flex justify-end gap-2">
          <button type="button" className="button" onClick={end}>Cancel</button>
          <button type="submit" className="button button-primary" disabled={busy}>Ask</button>
        </div>
      </form>
    );
  }
  return (
    <article aria-label="You" className="group flex flex-col items-end">
      <div dir="auto" className={`max-w-[85%] rounded-2xl bg-soft px-4 py-2.5 break-words whitespace-pre-wrap ${marked ? "ring-2 ring-accent" : ""}`}>{text}</div>
      <Tools>
        <Branches app={app} session={session} message={message} busy={busy} />
        <time className="px-1 text-xs text-dim" dateTime={message.created_at}>{moment(message.created_at)}</time>
        <CopyButton text={text} />
        <button type="button" className="icon-button" aria-label="Edit" title="Edit" disabled={busy} onClick={() => setEditing("begun")}><Pencil size={15} aria-hidden /></button>
      </Tools>
    </article>
  );
}

const ENDED: Partial<Record<Message["status"], string>> = {
  partial: "This answer is a part.",
  cancelled: "You stopped this answer.",
  failed: "The model failed; this is what it had said.",
  interrupted: "The service ended during this answer; this is what had been said.",
};

function Answer({ app, session, message, busy, isLast, marked, onAgain, onInspect, onSuggest }: Props & { message: Message }) {
  const text = textOf(message);
  const rating = message.feedback?.rating ?? null;
  const [judging, setJudging] = useState(false);
  const judge = (value: "up" | "down") => {
    const next = rating === value ? null : value;
    void rate(app, session, message.seq, { rating: next });
    setJudging(next === "down");
  };
  return (
    <article aria-label={message.agent_name ?? (message.role === "assistant" ? "Answer" : message.role)} className={`group ${marked ? "rounded-xl ring-2 ring-accent ring-offset-4 ring-offset-page" : ""}`}>
      {(message.agent_name || message.role !== "assistant") && <p className="mb-1 text-xs font-semibold text-dim">{message.agent_name ?? message.role}</p>}
      <Parts message={message} />
      <Text text={text} />
      {ENDED[message.status] && (
        <p className="mt-2 flex flex-wrap items-center gap-2 text-sm text-danger">
          {ENDED[message.status]} {message.error && <span className="text-dim">{message.error}</span>}
          <button type="button" className="button" disabled={busy} onClick={() => onAgain(message.seq)}><RefreshCw size={14} aria-hidden /> Answer again</button>
        </p>
      )}
      {message.sources.length > 0 && <Sources sources={message.sources} />}
      {message.role === "assistant" && (
        <Tools shown={isLast}>
          <Branches app={app} session={session} message={message} busy={busy} />
          <CopyButton text={text} />
          <button type="button" className="icon-button" aria-label="Good answer" title="Good answer" aria-pressed={rating === "up"} onClick={() => judge("up")}>
            <ThumbsUp size={15} aria-hidden fill={rating === "up" ? "currentColor" : "none"} />
          </button>
          <button type="button" className="icon-button" aria-label="Bad answer" title="Bad answer" aria-pressed={rating === "down"} onClick={() => judge("down")}>
            <ThumbsDown size={15} aria-hidden fill={rating === "down" ? "currentColor" : "none"} />
          </button>
          <button type="button" className="icon-button" aria-label="Answer again" title="Answer again" disabled={busy} onClick={() => onAgain(message.seq)}><RefreshCw size={15} aria-hidden /></button>
          <button type="button" className="icon-button" aria-label="What the model saw" title="What the model saw" onClick={() => onInspect(message.seq)}><Eye size={15} aria-hidden /></button>
          <span className="px-1 text-xs text-dim">{factsOf(message)}</span>
        </Tools>
      )}
      {judging && (
        <Judgement
          comment={message.feedback?.comment ?? ""}
          close={() => setJudging(false)}
          send={(comment) => {
            setJudging(false);
            if (comment) void rate(app, session, message.seq, { rating: "down", comment });
          }}
        />
      )}
      {!judging && message.feedback?.comment && <p dir="auto" className="text-sm text-dim">You said of this answer: {message.feedback.comment}</p>}
      {isLast && !busy && message.suggestions.length > 0 && (
        <div className="mt-3 flex flex-wrap gap-2">
          {message.suggestions.map((suggestion) => (
            <button key={suggestion} type="button" className="button rounded-full" onClick={() => onSuggest(suggestion)}>{suggestion}</button>
          ))}
        </div>
      )}
    </article>
  );
}

function factsOf(message: Message): string {
  const tokens = message.usage?.output_tokens;
  return [
    message.model,
    message.duration_ms !== null && seconds(message.duration_ms),
    tokens && `${tokens} tokens`,
    moment(message.created_at),
  ].filter(Boolean).join(" · ");
}

function Parts({ message }: { message: Message }) {
  return message.parts.map((part, at) => {
    if (part.type === "tool_call") return <Folded key={at} title={`Tool: ${part.name}`} value={part.arguments} />;
    if (part.type === "tool_result") return <Folded key={at} title={part.is_error ? "Tool failed" : "Tool result"} value={part.content} />;
    if (part.type === "reasoning") return <Folded key={at} title="Reasoning" value={part.text} />;
    if (part.type === "file") return <p key={at} className="text-sm text-dim">File: {part.name ?? part.media_type}</p>;
    return null;
  });
}

function Folded({ title, value }: { title: string; value: unknown }) {
  return (
    <details className="mb-2 rounded-lg border border-line bg-side px-3 py-1.5 text-sm">
      <summary className="text-dim">{title}</summary>
      <pre tabIndex={0} className="mt-2 overflow-x-auto text-xs whitespace-pre-wrap">{typeof value === "string" ? value : JSON.stringify(value, null, 2)}</pre>
    </details>
  );
}

function Sources({ sources }: { sources: Message["sources"] }) {
  return (
    <ol aria-label="Sources" className="mt-3 flex flex-wrap gap-2 text-sm">
      {sources.map((source, at) => (
        <li key={at} title={source.snippet ?? undefined} className="max-w-64 truncate rounded-lg border border-line px-2.5 py-1">
          <span className="text-dim">{at + 1}.</span>{" "}
          {source.url && /^https?:/i.test(source.url) ? <a href={source.url} target="_blank" rel="noreferrer noopener" className="text-accent underline">{source.title}</a> : source.title}
        </li>
      ))}
    </ol>
  );
}

function Tools({ children, shown = false }: { children: ReactNode; shown?: boolean }) {
  return (
    <div className={`mt-1 flex min-h-8 flex-wrap items-center gap-0.5 ${shown ? "" : "opacity-0 group-hover:opacity-100 group-focus-within:opacity-100 pointer-coarse:opacity-100"}`}>
      {children}
    </div>
  );
}

function Branches({ app, session, message, busy }: { app: string; session: string; message: Message; busy: boolean }) {
  const siblings = message.siblings ?? [];
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(message.seq);
  const go = (step: number) => {
    const seq = siblings[at + step];
    if (seq !== undefined) void switchTo(app, session, seq);
  };
  return (
    <span className="flex items-center text-xs text-dim" role="group" aria-label="Versions">
      <button type="button" className="icon-button size-6" aria-label="Earlier version" disabled={busy || at <= 0} onClick={() => go(-1)}><ChevronLeft size={15} aria-hidden /></button>
      <span>{at + 1}/{siblings.length}</span>
      <button type="button" className="icon-button size-6" aria-label="Later version" disabled={busy || at >= siblings.length - 1} onClick={() => go(1)}><ChevronRight size={15} aria-hidden /></button>
    </span>
  );
}

function CopyButton({ text }: { text: string }) {
  const [copied, copy] = useCopied();
  return (
    <button type="button" className="icon-button" aria-label={copied ? "Copied" : "Copy"} title="Copy" onClick={() => copy(text)}>
      {copied ? <Check size={15} aria-hidden /> : <Copy size={15} aria-hidden />}
    </button>
  );
}
