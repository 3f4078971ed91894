import { useQuery } from "@tanstack/react-query";
import { ArrowUp, Square } from "lucide-react";
import { memo, useEffect, useLayoutEffect, useRef, useState } from "react";
import { api, told } from "@/api/client";
import { preferences } from "@/lib/preferences";
import { useStore } from "@/lib/store";
import { readDraft, writeDraft } from "./drafts";

export interface Choice {
  model: string | null;
  agent: string | null;
}

interface Props {
  app: string;
  /** Under which name the words are kept until they are sent; null keeps them nowhere. */
  draft: string | null;
  busy: boolean;
  /** Whether a question that was refused stands above, which is to be sent again, or dismissed, first. */
  waits?: boolean;
  onSend: (message: string, choice: Choice) => void;
  onStop: () => void;
}

const MOST_CHARS = 262_144;
const MOST_HEIGHT = 240;

export const Composer = memo(function Composer({ app, draft, busy, waits = false, onSend, onStop }: Props) {
  const [text, setText] = useState(() => (draft === null ? "" : readDraft(draft)));
  const [agent, setAgent] = useState<string | null>(null);
  const model = useStore(preferences, (now) => now.model);
  const area = useRef<HTMLTextAreaElement>(null);
  const tooLong = text.length > MOST_CHARS;

  useEffect(() => {
    if (window.matchMedia("(pointer: fine)").matches) area.current?.focus();
  }, [draft]);

  useEffect(() => {
    if (draft === null) return undefined;
    const timer = window.setTimeout(() => writeDraft(draft, text), 150);
    const now = () => writeDraft(draft, text);
    window.addEventListener("pagehide", now);
    return () => {
      window.clearTimeout(timer);
      window.removeEventListener("pagehide", now);
      now();
    };
  }, [draft, text]);

  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight, MOST_HEIGHT)}px`;
  }, [text]);

  const send = () => {
    const message = text.trim();
    if (!message || busy || waits || tooLong) return;
    setText("");
    if (draft !== null) writeDraft(draft, "");
    onSend(message, { model, agent });
  };

  return (
    <form
      aria-label="Your message"
      className="mx-auto w-full max-w-3xl px-4 pb-4 md:px-6"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div className="rounded-2xl border border-line bg-card p-2 shadow-sm focus-within:border-accent">
        <textarea
          ref={area}
          dir="auto"
          rows={1}
          aria-label="Message"
          placeholder="Write a message"
          className="block w-full resize-none bg-transparent px-2 py-1.5 outline-none"
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
              event.preventDefault();
              send();
            }
            if (event.key === "Escape" && busy) onStop();
          }}
        />
        {tooLong && <p role="alert" className="px-2 text-sm text-danger">This is {text.length.toLocaleString()} characters; {MOST_CHARS.toLocaleString()} can be sent at once.</p>}
        <div className="flex items-center gap-2">
          <Choices app={app} agent={agent} setAgent={setAgent} />
          <span className="flex-1" />
          {busy ? (
            <button type="button" className="icon-button size-9 rounded-full bg-text text-page hover:bg-text hover:text-page" aria-label="Stop" title="Stop (Esc)" onClick={onStop}>
              <Square size={14} fill="currentColor" aria-hidden />
            </button>
          ) : (
            <button type="submit" className="icon-button size-9 rounded-full bg-accent text-on-accent hover:bg-accent hover:text-on-accent" aria-label="Send" title={waits ? "First send the question above again, or dismiss it" : "Send (Enter)"} disabled={!text.trim() || tooLong || waits}>
              <ArrowUp size={18} aria-hidden />
            </button>
          )}
        </div>
      </div>
    </form>
  );
});

function Choices({ app, agent, setAgent }: { app: string; agent: string | null; setAgent: (agent: string | null) => void }) {
  const model = useStore(preferences, (now) => now.model);
  const models = useQuery({
    queryKey: ["models", app],
    queryFn: () => told(api.GET("/v1/apps/{app}/models", { params: { path: { app } } })),
    staleTime: Infinity,
  });
  const agents = useQuery({
    queryKey: ["agents", app],
    queryFn: () => told(api.GET("/v1/apps/{app}/agents", { params: { path: { app } } })),
    staleTime: Infinity,
  });
  const names = models.data?.items ?? [];
  const known = names.some(({ name }) => name === model) ? model : null;
  const style = "max-w-40 truncate rounded-lg bg-transparent px-2 py-1 text-xs text-dim hover:bg-hover";
  useEffect(() => {
    if (models.data && model !== null && known === null) preferences.change((now) => ({ ...now, model: null }));
  }, [models.data, model, known]);
  return (
    <>
      {names.length === 1 && <span className="px-2 text-xs text-dim">{names[0]?.name}</span>}
      {names.length > 1 && (
        <select aria-label="Model" className={style} value={known ?? ""} onChange={(event) => preferences.change((now) => ({ ...now, model: event.target.value || null }))}>
          {names.map(({ name, default: isDefault }) => <option key={name} value={isDefault ? "" : name}>{name}</option>)}
        </select>
      )}
      {(agents.data?.items.length ?? 0) > 0 && (
        <select aria-label="Agent" className={style} value={agent ?? ""} onChange={(event) => setAgent(event.target.value || null)}>
          <option value="">Any agent</option>
          {agents.data?.items.map(({ name, description }) => <option key={name} value={name} title={description}>{name}</option>)}
        </select>
      )}
    </>
  );
}
