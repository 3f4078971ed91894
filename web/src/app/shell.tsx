import { Outlet, useNavigate } from "@tanstack/react-router";
import { Menu, PanelLeft, WifiOff } from "lucide-react";
import { lazy, Suspense, useEffect, useState } from "react";
import { followChanges } from "@/api/feed";
import { Drawer } from "@/features/sessions/drawer";
import { takeUp } from "@/features/transcript/live";
import { takeUnsent } from "@/features/transcript/unsent";
import { oneAtATime } from "@/lib/one-at-a-time";
import { useNarrow } from "@/lib/narrow";
import { preferences } from "@/lib/preferences";
import { useStore } from "@/lib/store";
import { tell, Toasts } from "@/ui/toasts";
import { panel } from "./panel";
import { usePlace } from "./place";
import { queries } from "./query";

const Sheet = lazy(() => import("./sheet"));
const Search = lazy(() => import("@/features/search/search").then((found) => ({ default: found.Search })));
const Settings = lazy(() => import("@/features/settings/settings").then((found) => ({ default: found.Settings })));
const Help = lazy(() => import("@/features/settings/help").then((found) => ({ default: found.Help })));

/** What is wanted next is fetched while nobody waits for it. */
function prefetchParts(): void {
  const parts = [
    import("@/features/search/search"),
    import("@/features/sessions/row-menu"),
    import("@/features/transcript/incognito"),
    import("@/features/transcript/markdown"),
  ];
  Promise.all(parts).catch(() => undefined);
}

export function Shell() {
  const { app, session } = usePlace();
  const navigate = useNavigate();
  const narrow = useNarrow();
  const open = useStore(preferences, (now) => now.drawer);
  const shown = useStore(panel, (now) => now);
  const [sheet, setSheet] = useState(false);
  const online = useOnline();

  useEffect(() => setSheet(false), [session]);

  useEffect(() => {
    const timer = window.setTimeout(prefetchParts, 300);
    return () => window.clearTimeout(timer);
  }, []);

  useEffect(
    () =>
      followChanges(
        app,
        oneAtATime(() => Promise.all(["sessions", "session", "messages"].map((kind) => queries.invalidateQueries({ queryKey: [kind, app] })))),
      ),
    [app],
  );

  useEffect(
    () =>
      takeUnsent(app, async (question) => {
        const { session } = question;
        if ((await takeUp(question)) || window.location.pathname.endsWith(session)) return;
        const show = () => void navigate({ to: "/$app/session/$session", params: { app, session } });
        tell("A question from before could not be sent.", { word: "Show", act: show }, "error");
      }),
    [app, navigate],
  );

  useEffect(() => {
    const typed = (event: KeyboardEvent) => {
      const command = event.metaKey || event.ctrlKey;
      const writing = event.target instanceof HTMLElement && event.target.matches("input, textarea, [contenteditable]");
      if (command && event.key.toLowerCase() === "k") panel.set("search");
      else if (command && event.shiftKey && event.key.toLowerCase() === "o") void navigate({ to: "/$app", params: { app } });
      else if (command && event.key.toLowerCase() === "b") preferences.change((now) => ({ ...now, drawer: !now.drawer }));
      else if (event.key === "?" && !writing) panel.set("help");
      else return;
      event.preventDefault();
    };
    window.addEventListener("keydown", typed);
    return () => window.removeEventListener("keydown", typed);
  }, [app, navigate]);

  return (
    <div className="flex h-full">
      <a href="#content" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:bg-card focus:p-3">
        Skip to the conversation
      </a>
      {!narrow && open && (
        <nav aria-label="Chats" className="flex w-72 shrink-0 flex-col border-e border-line bg-side">
          <Drawer app={app} current={session} hide={() => preferences.change((now) => ({ ...now, drawer: false }))} />
        </nav>
      )}
      <Suspense>
        {narrow && sheet && <Sheet close={() => setSheet(false)}><Drawer app={app} current={session} hide={() => setSheet(false)} /></Sheet>}
      </Suspense>
      <main id="content" tabIndex={-1} className="relative flex min-w-0 flex-1 flex-col outline-none">
        {!online && (
          <p role="status" className="flex items-center justify-center gap-2 border-b border-line bg-soft px-4 py-1.5 text-sm">
            <WifiOff size={15} aria-hidden /> You are offline. What you write is kept, and answers go on without you.
          </p>
        )}
        <div className="absolute start-2 top-2 z-20 flex gap-1">
          {narrow ? (
            <button type="button" className="icon-button bg-page" aria-label="Show chats" onClick={() => setSheet(true)}>
              <Menu size={19} aria-hidden />
            </button>
          ) : (
            !open && (
              <button
                type="button"
                className="icon-button"
                aria-label="Show chats"
                onClick={() => preferences.change((now) => ({ ...now, drawer: true }))}
              >
                <PanelLeft size={19} aria-hidden />
              </button>
            )
          )}
        </div>
        <Outlet />
      </main>
      <Suspense>
        {shown === "search" && <Search app={app} close={() => panel.set(null)} />}
        {shown === "settings" && <Settings app={app} close={() => panel.set(null)} />}
        {shown === "help" && <Help close={() => panel.set(null)} />}
      </Suspense>
      <Toasts />
    </div>
  );
}

function useOnline(): boolean {
  const [online, setOnline] = useState(navigator.onLine);
  useEffect(() => {
    const look = () => setOnline(navigator.onLine);
    window.addEventListener("online", look);
    window.addEventListener("offline", look);
    return () => {
      window.removeEventListener("online", look);
      window.removeEventListener("offline", look);
    };
  }, []);
  return online;
}
