import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Search as Glass } from "lucide-react";
import * as Dialog from "@radix-ui/react-dialog";
import * as VisuallyHidden from "@radix-ui/react-visually-hidden";
import { useEffect, useState } from "react";
import { api, told } from "@/api/client";
import type { Hit } from "@/api/schema";
import { moment } from "@/lib/time";
import { piecesOf } from "./pieces";

const TYPING_MS = 150;

export function Search({ app, close }: { app: string; close: () => void }) {
  const navigate = useNavigate();
  const [typed, setTyped] = useState("");
  const [asked, setAsked] = useState("");
  const [at, setAt] = useState(0);
  useEffect(() => {
    const timer = window.setTimeout(() => setAsked(typed.trim()), TYPING_MS);
    return () => window.clearTimeout(timer);
  }, [typed]);
  const { data, error, isFetching } = useQuery({
    queryKey: ["search", app, asked],
    queryFn: () => told(api.GET("/v1/apps/{app}/search", { params: { path: { app }, query: { q: asked, limit: 30 } } })),
    enabled: asked !== "",
    placeholderData: (before) => before,
    staleTime: 0,
  });
  const hits = asked ? (data?.items ?? []) : [];
  useEffect(() => setAt(0), [asked]);

  const open = (hit: Hit | undefined) => {
    if (!hit) return;
    close();
    void navigate({ to: "/$app/session/$session", params: { app, session: hit.session_id }, search: hit.seq === null ? {} : { at: hit.seq } });
  };
  return (
    <Dialog.Root open onOpenChange={(is) => !is && close()}>
      <Dialog.Portal>
        <Dialog.Overlay className="overlay" />
        <Dialog.Content className="sheet inset-x-4 top-[10vh] mx-auto max-h-[75vh] max-w-xl rounded-2xl border" aria-describedby={undefined}>
          <VisuallyHidden.Root><Dialog.Title>Search</Dialog.Title></VisuallyHidden.Root>
          <label className="flex items-center gap-3 border-b border-line px-4">
            <Glass size={18} aria-hidden className="text-dim" />
            <input
              type="search"
              role="combobox"
              aria-label="Search titles and messages"
              aria-expanded={hits.length > 0}
              aria-controls="hits"
              aria-activedescendant={hits[at] ? `hit-${at}` : undefined}
              className="min-w-0 flex-1 bg-transparent py-3.5 outline-none"
              placeholder="Search titles and messages"
              autoFocus
              dir="auto"
              value={typed}
              onChange={(event) => setTyped(event.target.value)}
              onKeyDown={(event) => {
                if (event.key === "ArrowDown") setAt((now) => Math.max(0, Math.min(now + 1, hits.length - 1)));
                else if (event.key === "ArrowUp") setAt((now) => Math.max(now - 1, 0));
                else if (event.key === "Enter") open(hits[at]);
                else return;
                event.preventDefault();
              }}
            />
          </label>
          <ul id="hits" role="listbox" aria-label="Found" className="min-h-0 overflow-y-auto p-2 empty:hidden">
            {hits.map((hit, index) => (
              <li
                key={`${hit.session_id} ${hit.seq}`}
                id={`hit-${index}`}
                role="option"
                aria-selected={index === at}
                ref={(element) => { if (index === at) element?.scrollIntoView({ block: "nearest" }); }}
                className={`cursor-pointer rounded-lg px-3 py-2 ${index === at ? "bg-hover" : ""}`}
                onMouseMove={() => setAt(index)}
                onClick={() => open(hit)}
              >
                <span className="flex gap-3 text-sm font-medium">
                  <span dir="auto" className="min-w-0 flex-1 truncate">{hit.title || "New chat"}</span>
                  <time dateTime={hit.at} className="shrink-0 text-xs font-normal text-dim">{moment(hit.at)}</time>
                </span>
                <span dir="auto" className="line-clamp-2 text-sm text-dim"><Highlighted hit={hit} /></span>
              </li>
            ))}
          </ul>
          <p role="status" className={hits.length ? "sr-only" : "px-4 py-3 text-sm text-dim"}>
            {error ? error.message : !asked ? "Finds words in all of your chats." : isFetching ? "Searching…" : hits.length ? `${hits.length} found` : "Nothing found."}
          </p>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Highlighted({ hit }: { hit: Hit }) {
  return piecesOf(hit.snippet, hit.highlights as [number, number][]).map(({ text, found }, at) =>
    found ? <mark key={at} className="rounded bg-soft px-0.5 font-semibold text-text">{text}</mark> : <span key={at}>{text}</span>,
  );
}
