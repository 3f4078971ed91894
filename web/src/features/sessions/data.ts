import { type InfiniteData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { api, OUTLIVES_THE_PAGE, told } from "@/api/client";
import type { Session, SessionChange, SessionList } from "@/api/schema";
import { queries } from "@/app/query";
import { all, inTurn } from "@/lib/in-turn";
import { oneAtATime } from "@/lib/one-at-a-time";
import { letGo } from "@/lib/pages";
import { kept } from "@/lib/store";
import { tell, tellError } from "@/ui/toasts";

export type View = "live" | "archived" | "trashed";
type Pages = InfiniteData<SessionList, string | null>;

const PAGE = 100;

export const listKey = (app: string, view: View) => ["sessions", app, view] as const;
export const sessionKey = (app: string, id: string) => ["session", app, id] as const;

export function useSessions(app: string, view: View) {
  return useInfiniteQuery({
    queryKey: listKey(app, view),
    queryFn: ({ pageParam }) =>
      told(
        api.GET("/v1/apps/{app}/sessions", {
          params: {
            path: { app },
            query: {
              limit: PAGE,
              ...(pageParam === null ? {} : { cursor: pageParam }),
              ...(view === "live" ? {} : { state: view }),
            },
          },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page: SessionList) => page.next_cursor,
  });
}

export function fetchSession(app: string, id: string): Promise<Session> {
  return told(api.GET("/v1/apps/{app}/sessions/{session_id}", { params: { path: { app, session_id: id } } }));
}

export function useSession(app: string, id: string, enabled: boolean) {
  return useQuery({ queryKey: sessionKey(app, id), queryFn: () => fetchSession(app, id), enabled });
}

/** Show a session as changed in every list and in its own place; null removes it. Returns what brings all back. */
function show(app: string, id: string, change: (session: Session) => Session | null): () => void {
  const before = queries.getQueriesData<Pages>({ queryKey: ["sessions", app] });
  for (const [key, pages] of before) {
    if (!pages) continue;
    queries.setQueryData<Pages>(key, {
      ...pages,
      pages: pages.pages.map((page) => ({
        ...page,
        items: page.items.flatMap((session) => (session.id === id ? (change(session) ?? []) : session)),
      })),
    });
  }
  const own = queries.getQueryData<Session>(sessionKey(app, id));
  const changed = own && change(own);
  if (changed) queries.setQueryData(sessionKey(app, id), changed);
  return () => {
    for (const [key, pages] of before) queries.setQueryData(key, pages);
    if (own) queries.setQueryData(sessionKey(app, id), own);
  };
}

let changing = 0;

/** Make a change that is shown already; what was read before it must not be shown again. */
async function attempt(
  app: string,
  ids: readonly string[],
  rollback: () => void,
  call: () => Promise<unknown>,
): Promise<boolean> {
  const keys = [["sessions", app], ...ids.map((id) => sessionKey(app, id))];
  changing += 1;
  try {
    await all([call(), ...keys.map((queryKey) => queries.cancelQueries({ queryKey }))]);
    return true;
  } catch (error) {
    rollback();
    tellError(error);
    return false;
  } finally {
    changing -= 1;
    for (const id of ids) void queries.invalidateQueries({ queryKey: sessionKey(app, id) });
    if (changing === 0) void refetchLists();
  }
}

export const refetchLists = oneAtATime(() => queries.invalidateQueries({ queryKey: ["sessions"] }));

/** Let go of what is far down in a list; it is fetched again for who scrolls there. */
export function letGoOfPages(app: string, view: View): void {
  letGo(listKey(app, view));
}

function patch(app: string, id: string, body: SessionChange): Promise<unknown> {
  const params = { path: { app, session_id: id } };
  return inTurn(`${app}/${id}`, () =>
    told(api.PATCH("/v1/apps/{app}/sessions/{session_id}", { params, body, ...OUTLIVES_THE_PAGE })),
  );
}

export function rename(app: string, session: Session, title: string): void {
  const rollback = show(app, session.id, (old) => ({ ...old, title, title_source: "user" }));
  void attempt(app, [session.id], rollback, () => patch(app, session.id, { title }));
}

export function pin(app: string, session: Session): void {
  const state = session.state === "pinned" ? "unpinned" : "pinned";
  const rollback = show(app, session.id, (old) => ({ ...old, state }));
  void attempt(app, [session.id], rollback, () => patch(app, session.id, { state }));
}

/** Move sessions out of the list; the toast takes it back. */
export async function archive(app: string, sessions: readonly Session[]): Promise<void> {
  await moveAway(app, sessions, "Archived", (id) => patch(app, id, { state: "archived" }), async (session) => {
    await patch(app, session.id, { state: session.state === "pinned" ? "pinned" : "active" });
  });
}

export async function unarchive(app: string, sessions: readonly Session[]): Promise<void> {
  await moveAway(app, sessions, "Moved back", (id) => patch(app, id, { state: "active" }), async (session) => {
    await patch(app, session.id, { state: "archived" });
  });
}

export async function trash(app: string, sessions: readonly Session[]): Promise<void> {
  await moveAway(app, sessions, "Deleted", (id) => remove(app, id, false), async (session) => {
    await restoreOne(app, session.id);
  });
}

export async function restore(app: string, sessions: readonly Session[]): Promise<void> {
  await moveAway(app, sessions, "Restored", (id) => restoreOne(app, id), async (session) => {
    await remove(app, session.id, false);
  });
}

export async function purge(app: string, sessions: readonly Session[]): Promise<void> {
  await moveAway(app, sessions, "Deleted for good", (id) => remove(app, id, true));
}

function remove(app: string, id: string, permanent: boolean): Promise<unknown> {
  const params = { path: { app, session_id: id }, query: { permanent } };
  return inTurn(`${app}/${id}`, () =>
    told(api.DELETE("/v1/apps/{app}/sessions/{session_id}", { params, ...OUTLIVES_THE_PAGE })),
  );
}

function restoreOne(app: string, id: string): Promise<unknown> {
  const params = { path: { app, session_id: id } };
  return inTurn(`${app}/${id}`, () =>
    told(api.POST("/v1/apps/{app}/sessions/{session_id}/restore", { params, ...OUTLIVES_THE_PAGE })),
  );
}

async function moveAway(
  app: string,
  sessions: readonly Session[],
  word: string,
  call: (id: string) => Promise<unknown>,
  back?: (session: Session) => Promise<void>,
): Promise<void> {
  const rollbacks = sessions.map((session) => show(app, session.id, () => null));
  const rollback = () => rollbacks.reverse().forEach((each) => each());
  const ids = sessions.map(({ id }) => id);
  const done = await attempt(app, ids, rollback, () => all(ids.map(call)));
  if (!done) return;
  const what = sessions.length === 1 ? `“${titleOf(sessions[0] as Session)}”` : `${sessions.length} chats`;
  const undo = back && (() => void all(sessions.map(back)).catch(tellError).finally(() => refetchLists()));
  tell(`${word}: ${what}`, undo && { word: "Undo", act: undo });
}

export function titleOf(session: Pick<Session, "title">): string {
  return session.title || "New chat";
}

/** What this reader has seen of each session, and since when anything counts as unread. */
const seen = kept<{ since: string; last: Record<string, number> }>("chatkeep.seen", {
  since: new Date().toISOString(),
  last: {},
});
seen.change((now) => ({ ...now })); // writes down since when, at the first visit
export { seen };

const REMEMBERED = 500;

export function markSeen(session: Session): void {
  if (seen.get().last[session.id] === session.last_seq) return;
  seen.change(({ since, last }) => {
    const { [session.id]: _, ...others } = last;
    const newest = Object.entries(others).slice(-REMEMBERED);
    return { since, last: { ...Object.fromEntries(newest), [session.id]: session.last_seq } };
  });
}

export function isUnread(session: Session, now: { since: string; last: Record<string, number> }): boolean {
  const known = now.last[session.id];
  return known === undefined ? session.modified_at > now.since && session.last_seq > 0 : session.last_seq > known;
}
