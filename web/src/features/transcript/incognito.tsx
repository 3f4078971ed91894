import { useNavigate } from "@tanstack/react-router";
import { EyeOff, Save } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { api, told, urlOf } from "@/api/client";
import { eventsOf } from "@/api/stream";
import { usePlace } from "@/app/place";
import { type Choice, Composer } from "@/features/composer/composer";
import { refetchLists } from "@/features/sessions/data";
import { newId } from "@/lib/ids";
import { tell, tellError } from "@/ui/toasts";
import { Text } from "./prose";

interface Said {
  role: "user" | "assistant";
  text: string;
}

/** A chat that this page alone holds. */
export function Incognito() {
  const { app } = usePlace();
  const navigate = useNavigate();
  const [said, setSaid] = useState<readonly Said[]>([]);
  const [writing, setWriting] = useState<string | null>(null);
  const ended = useRef(new AbortController());
  const end = useRef<HTMLDivElement>(null);

  useEffect(() => {
    document.title = "Incognito · Chatkeep";
    return () => ended.current.abort();
  }, []);
  useEffect(() => {
    void end.current?.scrollIntoView({ block: "end" });
  }, [said, writing]);
  useEffect(() => {
    const warn = (event: BeforeUnloadEvent) => said.length > 0 && event.preventDefault();
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [said]);

  const transcriptOf = (all: readonly Said[]) => all.map(({ role, text }) => ({ role, parts: [{ type: "text" as const, text }] }));

  const send = async (message: string, choice: Choice) => {
    ended.current = new AbortController();
    setSaid((now) => [...now, { role: "user", text: message }]);
    let text = "";
    setWriting(text);
    try {
      const asked = fetch(urlOf(app, "incognito/chat"), {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
        body: JSON.stringify({ message, transcript: transcriptOf(said), ...choice }),
        signal: ended.current.signal,
      });
      for await (const { type, data } of eventsOf(asked)) {
        if (type !== "delta") continue;
        text += String(data.text);
        setWriting(text);
      }
    } catch (error) {
      if (!ended.current.signal.aborted) tellError(error);
    }
    setWriting(null);
    if (text) setSaid((now) => [...now, { role: "assistant", text }]);
  };

  const save = async () => {
    const session = newId();
    try {
      await told(api.PUT("/v1/apps/{app}/sessions/{session_id}", { params: { path: { app, session_id: session } }, body: {} as never }));
      await told(
        api.POST("/v1/apps/{app}/sessions/{session_id}/messages", {
          params: { path: { app, session_id: session }, header: { "Idempotency-Key": session } },
          body: { messages: transcriptOf(said) } as never,
        }),
      );
      void refetchLists();
      tell("Saved: it is an ordinary chat now.");
      setSaid([]);
      void navigate({ to: "/$app/session/$session", params: { app, session } });
    } catch (error) {
      tellError(error);
    }
  };

  return (
    <>
      <header className="flex min-h-12 shrink-0 flex-wrap items-center justify-center gap-x-3 gap-y-1 border-b border-line bg-text px-12 py-2 text-sm text-page">
        <h1 className="flex items-center gap-2 font-semibold"><EyeOff size={16} aria-hidden /> Incognito</h1>
        <span>This page alone holds this chat. It ends when you leave.</span>
        {said.length > 1 && writing === null && (
          <button type="button" className="button" onClick={() => void save()}><Save size={14} aria-hidden /> Save this chat</button>
        )}
      </header>
      <div className="min-h-0 flex-1 overflow-y-auto" tabIndex={0} role="region" aria-label="Conversation">
        <div className="mx-auto flex w-full max-w-3xl flex-col gap-5 px-4 py-6 md:px-6">
          {said.map(({ role, text }, at) =>
            role === "user" ? (
              <div key={at} dir="auto" className="ms-auto max-w-[85%] rounded-2xl bg-soft px-4 py-2.5 break-words whitespace-pre-wrap">{text}</div>
            ) : (
              <article key={at} aria-label="Answer"><Text text={text} /></article>
            ),
          )}
          {writing !== null && <article aria-label="Answer" aria-busy="true"><Text text={writing || "…"} writing /></article>}
          <div ref={end} />
        </div>
      </div>
      <Composer app={app} draft={null} busy={writing !== null} onSend={(message, choice) => void send(message, choice)} onStop={() => ended.current.abort()} />
    </>
  );
}
