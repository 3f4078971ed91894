import { useNavigate } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { Archive, ChevronLeft, EyeOff, PanelLeftClose, Search, Settings, SquarePen, Trash2, X } from "lucide-react";
import { lazy, Suspense, useEffect, useMemo, useRef, useState } from "react";
import type { Session } from "@/api/schema";
import { panel } from "@/app/panel";
import { useNarrow } from "@/lib/narrow";
import { preferences } from "@/lib/preferences";
import { useStore } from "@/lib/store";
import { groupOf } from "@/lib/time";
import { archive, letGoOfPages, purge, restore, trash, unarchive, useSessions, type View } from "./data";
import { rowMenu } from "./menu-store";
import { SessionRow } from "./row";

const RowMenu = lazy(() => import("./row-menu"));

type Line = { kind: "heading"; text: string } | { kind: "session"; session: Session };

const NEAR_THE_END = 20;
const TITLES: Record<View, string> = { live: "Chats", archived: "Archived", trashed: "Trash" };

export function Drawer({ app, current, hide }: { app: string; current: string | null; hide: () => void }) {
  const navigate = useNavigate();
  const narrow = useNarrow();
  const [view, setView] = useState<View>("live");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const menu = useStore(rowMenu, (now) => now);

  useEffect(() => setChosen(new Set()), [view, app]);

  return (
    <>
      <div className="flex items-center gap-1 p-2">
        {view === "live" ? (
          <span className="flex-1 ps-2 font-semibold">Chatkeep</span>
        ) : (
          <button type="button" className="button flex-1 justify-start border-0 bg-transparent" onClick={() => setView("live")}>
            <ChevronLeft size={17} aria-hidden /> {TITLES[view]}
          </button>
        )}
        <button type="button" className="icon-button" aria-label="Search" title="Search (Ctrl K)" onClick={() => panel.set("search")}>
          <Search size={17} aria-hidden />
        </button>
        <button type="button" className="icon-button" aria-label="Hide chats" title={narrow ? "Hide chats" : "Hide chats (Ctrl B)"} onClick={hide}>
          {narrow ? <X size={18} aria-hidden /> : <PanelLeftClose size={17} aria-hidden />}
        </button>
      </div>
      <div className="flex gap-1 px-2 pb-2">
        <button type="button" className="button flex-1 justify-start" onClick={() => void navigate({ to: "/$app", params: { app } })}>
          <SquarePen size={16} aria-hidden /> New chat
        </button>
        <button
          type="button"
          className="button"
          aria-label="New incognito chat"
          title="Incognito: nothing is stored"
          onClick={() => void navigate({ to: "/$app/incognito", params: { app } })}
        >
          <EyeOff size={16} aria-hidden />
        </button>
      </div>
      <List key={`${app}/${view}`} app={app} view={view} current={current} chosen={chosen} choose={setChosen} />
      <Suspense>{menu && <RowMenu key={menu.session.id} menu={menu} close={() => rowMenu.set(null)} />}</Suspense>
      {chosen.size > 0 && <Actions app={app} view={view} chosen={chosen} clear={() => setChosen(new Set())} />}
      <div className="flex items-center gap-1 border-t border-line p-2">
        <button type="button" className="icon-button" aria-label="Archived chats" title="Archived" aria-pressed={view === "archived"} onClick={() => setView("archived")}>
          <Archive size={17} aria-hidden />
        </button>
        <button type="button" className="icon-button" aria-label="Trash" title="Trash" aria-pressed={view === "trashed"} onClick={() => setView("trashed")}>
          <Trash2 size={17} aria-hidden />
        </button>
        <span className="flex-1" />
        <button type="button" className="icon-button" aria-label="Settings" title="Settings" onClick={() => panel.set("settings")}>
          <Settings size={17} aria-hidden />
        </button>
      </div>
    </>
  );
}

interface ListProps {
  app: string;
  view: View;
  current: string | null;
  chosen: ReadonlySet<string>;
  choose: (chosen: ReadonlySet<string>) => void;
}

function List({ app, view, current, chosen, choose }: ListProps) {
  const { data, fetchNextPage, hasNextPage, isFetchingNextPage, isPending, error, refetch } = useSessions(app, view);
  const scroller = useRef<HTMLDivElement>(null);
  const today = useToday();
  const lines = useMemo(() => linesOf(data?.pages.flatMap((page) => page.items) ?? [], view, today), [data, view, today]);
  const compact = useStore(preferences, (now) => now.density === "compact");
  const rows = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: (index) => (lines[index]?.kind === "heading" ? 30 : compact ? 30 : 36),
    getItemKey: (index) => {
      const line = lines[index];
      return line?.kind === "session" ? line.session.id : `heading ${line?.text}`;
    },
    overscan: 12,
  });
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  const isAtTop = items[0]?.index === 0;

  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && last >= lines.length - NEAR_THE_END) void fetchNextPage();
  }, [last, lines.length, hasNextPage, isFetchingNextPage, fetchNextPage]);

  useEffect(() => {
    if (isAtTop) letGoOfPages(app, view);
  }, [isAtTop, app, view]);

  const toggle = (id: string) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    choose(next);
  };

  if (error && !data) {
    return (
      <div className="flex-1 p-4 text-sm text-dim">
        <p>{error.message}</p>
        <button type="button" className="button mt-3" onClick={() => void refetch()}>Try again</button>
      </div>
    );
  }
  if (!isPending && lines.length === 0) {
    const nothing = { live: "Your chats will stand here.", archived: "Nothing is archived.", trashed: "The trash is empty." };
    return <p className="flex-1 p-4 text-sm text-dim">{nothing[view]}</p>;
  }
  return (
    <div ref={scroller} className="min-h-0 flex-1 overflow-y-auto px-2" data-testid="drawer">
      <ul className="relative" style={{ height: rows.getTotalSize() }} aria-busy={isPending}>
        {items.map((item) => {
          const line = lines[item.index];
          if (!line) return null;
          return (
            <li key={item.key} className="absolute inset-x-0 top-0" style={{ height: item.size, transform: `translateY(${item.start}px)` }}>
              {line.kind === "heading" ? (
                <h2 className="px-2 pt-2.5 text-xs font-semibold text-dim">{line.text}</h2>
              ) : (
                <SessionRow
                  app={app}
                  session={line.session}
                  view={view}
                  isCurrent={line.session.id === current}
                  isChosen={chosen.has(line.session.id)}
                  choosing={chosen.size > 0}
                  toggle={toggle}
                />
              )}
            </li>
          );
        })}
      </ul>
    </div>
  );
}

/** The sessions under their headings, in the order of the list. */
export function linesOf(sessions: readonly Session[], view: View, now: Date): Line[] {
  const lines: Line[] = [];
  const shown = new Set<string>();
  let heading = "";
  for (const session of sessions) {
    if (shown.has(session.id)) continue;
    shown.add(session.id);
    const own = view === "live" && session.state === "pinned" ? "Pinned" : groupOf(new Date(session.modified_at), now);
    if (own !== heading) lines.push({ kind: "heading", text: own });
    heading = own;
    lines.push({ kind: "session", session });
  }
  return lines;
}

/** The present day; it changes at midnight. */
function useToday(): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const midnight = new Date(now);
    midnight.setHours(24, 0, 1, 0);
    const timer = window.setTimeout(() => setNow(new Date()), midnight.getTime() - Date.now());
    return () => window.clearTimeout(timer);
  }, [now]);
  return now;
}

function Actions({ app, view, chosen, clear }: { app: string; view: View; chosen: ReadonlySet<string>; clear: () => void }) {
  const { data } = useSessions(app, view);
  const sessions = (data?.pages.flatMap((page) => page.items) ?? []).filter((session) => chosen.has(session.id));
  const act = (action: (app: string, sessions: readonly Session[]) => Promise<void>) => () => {
    void action(app, sessions);
    clear();
  };
  return (
    <div role="toolbar" aria-label="Chosen chats" className="flex items-center gap-1 border-t border-line bg-soft p-2 text-sm">
      <span className="flex-1 ps-1">{chosen.size} chosen</span>
      {view === "live" && <button type="button" className="button px-2" onClick={act(archive)}>Archive</button>}
      {view === "archived" && <button type="button" className="button px-2" onClick={act(unarchive)}>Move back</button>}
      {view === "trashed" ? (
        <>
          <button type="button" className="button px-2" onClick={act(restore)}>Restore</button>
          <button type="button" className="button button-danger px-2" onClick={act(purge)}>Delete for good</button>
        </>
      ) : (
        <button type="button" className="button button-danger px-2" onClick={act(trash)}>Delete</button>
      )}
      <button type="button" className="icon-button" aria-label="Choose none" onClick={clear}><X size={16} aria-hidden /></button>
    </div>
  );
}
