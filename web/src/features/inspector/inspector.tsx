import { useQuery } from "@tanstack/react-query";
import { Trash2 } from "lucide-react";
import { useState } from "react";
import { api, told } from "@/api/client";
import type { Context, Decided, Segment } from "@/api/schema";
import { queries } from "@/app/query";
import { Panel } from "@/ui/panel";
import { tell, tellError } from "@/ui/toasts";

const PARTS: readonly [name: string, label: string, color: string][] = [
  ["system", "Instructions", "#7c3aed"],
  ["tools", "Tools", "#c026d3"],
  ["pinned", "Pinned", "#be185d"],
  ["segments", "Summaries", "#b45309"],
  ["recent", "Recent messages", "#4338ca"],
  ["relevant", "Relevant older ones", "#0f766e"],
  ["new", "New question", "#15803d"],
];
const WORDS: Record<Decided["decision"], string> = {
  included: "In full",
  relevant: "Quoted, since it is relevant",
  covered: "In a summary",
  omitted: "Left out",
};

/** For one answer: what the model saw, and why. */
export function Inspector({ app, session, seq, close }: { app: string; session: string; seq: number; close: () => void }) {
  const context = useQuery({
    queryKey: ["context", app, session, seq],
    queryFn: () =>
      told(api.GET("/v1/apps/{app}/sessions/{session_id}/context", { params: { path: { app, session_id: session }, query: { seq } } })),
  });
  const segments = useQuery({
    queryKey: ["segments", app, session],
    queryFn: () => told(api.GET("/v1/apps/{app}/sessions/{session_id}/segments", { params: { path: { app, session_id: session } } })),
  });
  return (
    <Panel title="What the model saw" place="inset-y-0 end-0 w-[min(30rem,100vw)] border-s" close={close}>
      <div className="min-h-0 flex-1 overflow-y-auto p-4" tabIndex={0} role="region" aria-label="Details">
        {context.error && <p className="text-danger">{context.error.message}</p>}
        {context.isPending && <p className="text-dim">Loading…</p>}
        {context.data && <Found context={context.data} />}
        {segments.data && <Segments app={app} session={session} segments={segments.data.items} />}
      </div>
    </Panel>
  );
}

function Found({ context }: { context: Context }) {
  const total = context.tokens.total ?? 0;
  const widest = Math.max(context.budget_tokens, total, 1);
  const parts = PARTS.map(([name, label, color]) => ({ name, label, color, tokens: context.tokens[name] ?? 0 })).filter(({ tokens }) => tokens > 0);
  return (
    <>
      <p className="mb-2 text-sm"><strong>{total.toLocaleString()}</strong> of {context.budget_tokens.toLocaleString()} tokens <span className="text-dim">({counted(context.estimate)})</span></p>
      <div className="mb-3 flex h-3 overflow-hidden rounded-full bg-hover" role="img" aria-label={`Budget: ${parts.map(({ label, tokens }) => `${label} ${tokens}`).join(", ")}`}>
        {parts.map(({ name, color, tokens }) => <div key={name} style={{ width: `${(100 * tokens) / widest}%`, background: color }} />)}
      </div>
      <ul className="mb-4 grid grid-cols-1 gap-x-6 gap-y-1 text-sm sm:grid-cols-2">
        {parts.map(({ name, label, color, tokens }) => (
          <li key={name} className="flex items-center gap-2">
            <span className="size-2.5 rounded-full" style={{ background: color }} aria-hidden />
            <span className="flex-1">{label}</span>
            <span className="text-dim tabular-nums">{tokens.toLocaleString()}</span>
          </li>
        ))}
      </ul>
      <dl className="mb-5 grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
        <dt className="text-dim">Strategy</dt><dd>{context.strategy}, relevance {context.relevance}</dd>
        <dt className="text-dim">Begins like the prompt before</dt><dd>{Math.round(100 * context.prefix_fraction)} %</dd>
        <dt className="text-dim">Built in</dt><dd>{context.build_ms.toFixed(1)} ms, waited {context.wait_ms.toFixed(0)} ms for a model</dd>
      </dl>
      <h3 className="mb-2 font-semibold">Messages</h3>
      <ul className="mb-6 flex flex-col gap-1 text-sm">
        {rangesOf(context.trace).map(({ from, to, decision, reason, tokens }) => (
          <li key={from} className="flex items-baseline gap-3 rounded-lg border border-line px-3 py-1.5">
            <span className="w-20 shrink-0 tabular-nums">{from === to ? `No. ${from}` : `${from}–${to}`}</span>
            <span className="flex-1">{WORDS[decision]}<span className="block text-xs text-dim">{reason}</span></span>
            {tokens > 0 && <span className="text-xs text-dim tabular-nums">{tokens.toLocaleString()}</span>}
          </li>
        ))}
      </ul>
    </>
  );
}

function counted(estimate: Context["estimate"]): string {
  return { bytes: "estimated", exact: "counted with the model's vocabulary", calibrated: "calibrated by the model's own counts" }[estimate];
}

/** Neighbours with the same fate, together. */
export function rangesOf(trace: readonly Decided[]): { from: number; to: number; decision: Decided["decision"]; reason: string; tokens: number }[] {
  const ranges: ReturnType<typeof rangesOf> = [];
  for (const { seq, decision, reason, tokens } of trace) {
    const last = ranges.at(-1);
    if (last && last.decision === decision && last.reason === reason) {
      last.to = seq;
      last.tokens += tokens;
    } else ranges.push({ from: seq, to: seq, decision, reason, tokens });
  }
  return ranges;
}

function Segments({ app, session, segments }: { app: string; session: string; segments: readonly Segment[] }) {
  const [sure, setSure] = useState(false);
  const remove = async () => {
    try {
      await told(api.DELETE("/v1/apps/{app}/sessions/{session_id}/segments", { params: { path: { app, session_id: session } } }));
      tell("The summaries are deleted; new ones are made from the messages.");
      await queries.invalidateQueries({ queryKey: ["segments", app, session] });
    } catch (error) {
      tellError(error);
    }
    setSure(false);
  };
  return (
    <section aria-label="Summaries">
      <h3 className="mb-2 flex items-center font-semibold">
        <span className="flex-1">Summaries</span>
        {segments.length > 0 && (
          <button type="button" className={`button ${sure ? "button-danger" : ""}`} onClick={() => (sure ? void remove() : setSure(true))}>
            <Trash2 size={14} aria-hidden /> {sure ? "Delete all of them?" : "Delete"}
          </button>
        )}
      </h3>
      {segments.length === 0 && <p className="text-sm text-dim">There are none: everything still fits.</p>}
      {segments.map((segment) => (
        <details key={`${segment.first_seq} ${segment.last_seq} ${segment.level}`} className="mb-2 rounded-lg border border-line px-3 py-2 text-sm">
          <summary>
            Messages {segment.first_seq}–{segment.last_seq}{" "}
            <span className="text-xs text-dim">
              {segment.source_tokens.toLocaleString()} → {segment.tokens.toLocaleString()} tokens, {segment.method === "model" ? `by ${segment.model ?? "the model"}` : "extracted"}{segment.published ? "" : ", not in use yet"}
            </span>
          </summary>
          <p dir="auto" className="mt-2 whitespace-pre-wrap">{segment.text}</p>
        </details>
      ))}
    </section>
  );
}
