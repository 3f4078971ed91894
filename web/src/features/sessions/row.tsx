import { Link, useNavigate } from "@tanstack/react-router";
import { Ellipsis } from "lucide-react";
import { memo, useState } from "react";
import type { Session } from "@/api/schema";
import { queries } from "@/app/query";
import { liveOf, lives } from "@/features/transcript/live";
import { prefetchMessages } from "@/features/transcript/prefetch";
import { useStore } from "@/lib/store";
import { fetchSession, isUnread, rename, seen, sessionKey, titleOf, trash, type View } from "./data";
import { rowMenu } from "./menu-store";

interface Props {
  app: string;
  session: Session;
  view: View;
  isCurrent: boolean;
  isChosen: boolean;
  choosing: boolean;
  toggle: (id: string) => void;
}

export const SessionRow = memo(function SessionRow({ app, session, view, isCurrent, isChosen, choosing, toggle }: Props) {
  const navigate = useNavigate();
  const [renaming, setRenaming] = useState(false);
  const unread = useStore(seen, (now) => !isCurrent && isUnread(session, now));
  const live = useStore(lives, liveOf(app, session.id));
  const running = session.active_run_id !== null || (live !== undefined && live.phase !== "failed");
  const leave = () => isCurrent && void navigate({ to: "/$app", params: { app } });

  const prefetch = () => {
    void queries.prefetchQuery({ queryKey: sessionKey(app, session.id), queryFn: () => fetchSession(app, session.id) });
    prefetchMessages(app, session.id);
  };

  if (renaming) {
    return (
      <form
        className="h-full py-0.5"
        onSubmit={(event) => {
          event.preventDefault();
          const title = String(new FormData(event.currentTarget).get("title")).trim();
          if (title && title !== session.title) rename(app, session, title);
          setRenaming(false);
        }}
      >
        <input
          name="title"
          aria-label="New title"
          className="field h-full w-full"
          defaultValue={session.title}
          maxLength={200}
          autoFocus
          onFocus={(event) => event.currentTarget.select()}
          onBlur={(event) => event.currentTarget.form?.requestSubmit()}
          onKeyDown={(event) => event.key === "Escape" && setRenaming(false)}
        />
      </form>
    );
  }
  const open = (x: number, y: number, from: Element | null) => {
    const page = { leave, rename: () => setRenaming(true), choose: () => toggle(session.id) };
    rowMenu.set({ app, session, view, x, y, page, back: () => from instanceof HTMLElement && from.focus() });
  };
  return (
    <div
      className={`group flex h-full items-center rounded-lg pe-1 text-sm ${isCurrent ? "bg-hover font-medium" : "hover:bg-hover"}`}
      onDoubleClick={() => view === "live" && setRenaming(true)}
      onContextMenu={(event) => {
        event.preventDefault();
        open(event.clientX, event.clientY, document.activeElement);
      }}
    >
      {choosing && (
        <input type="checkbox" className="ms-2 accent-accent" checked={isChosen} aria-label={`Choose ${titleOf(session)}`} onChange={() => toggle(session.id)} />
      )}
      <Link
        to="/$app/session/$session"
        params={{ app, session: session.id }}
        className="flex h-full min-w-0 flex-1 items-center gap-2 px-2"
        aria-current={isCurrent ? "page" : undefined}
        onMouseEnter={prefetch}
        onFocus={prefetch}
        onClick={(event) => {
          if (choosing || event.shiftKey) {
            event.preventDefault();
            toggle(session.id);
          }
        }}
        onKeyDown={(event) => {
          if (event.key === "F2") setRenaming(true);
          if (event.key === "Delete") void trash(app, [session]).then(leave);
        }}
      >
        <span dir="auto" className="min-w-0 flex-1 truncate">{titleOf(session)}</span>
        {running ? (
          <span className="size-2 shrink-0 animate-pulse rounded-full bg-accent"><span className="sr-only">is being answered</span></span>
        ) : (
          unread && <span className="size-2 shrink-0 rounded-full bg-accent"><span className="sr-only">unread</span></span>
        )}
      </Link>
      <button
        type="button"
        aria-label={`Menu of ${titleOf(session)}`}
        aria-haspopup="menu"
        className="icon-button size-6 opacity-0 group-hover:opacity-100 focus-visible:opacity-100 pointer-coarse:opacity-100"
        onClick={(event) => {
          const { left, bottom } = event.currentTarget.getBoundingClientRect();
          open(left, bottom, event.currentTarget);
        }}
      >
        <Ellipsis size={16} aria-hidden />
      </button>
    </div>
  );
});
