import { type InfiniteData, useInfiniteQuery } from "@tanstack/react-query";
import { api, OUTLIVES_THE_PAGE, told } from "@/api/client";
import type { Feedback, Message, MessageList, UnreadableMessage } from "@/api/schema";
import { queries } from "@/app/query";
import { inTurn } from "@/lib/in-turn";
import { letGo } from "@/lib/pages";
import { tellError } from "@/ui/toasts";

export type Entry = Message | UnreadableMessage;
type Where = { before?: number; after?: number };
type Pages = InfiniteData<MessageList>;

const PAGE = 50;

export const messagesKey = (app: string, session: string, around: number | null) =>
  ["messages", app, session, around] as const;

/** The messages of the active path in pages: the newest first, or those around a message, and from there both ways. */
export function useMessages(app: string, session: string, around: number | null, enabled: boolean) {
  return useInfiniteQuery({
    queryKey: messagesKey(app, session, around),
    enabled,
    queryFn: ({ pageParam }) =>
      told(
        api.GET("/v1/apps/{app}/sessions/{session_id}/messages", {
          params: {
            path: { app, session_id: session },
            query: {
              limit: PAGE,
              ...(pageParam.before === undefined ? {} : { before_seq: pageParam.before }),
              ...(pageParam.after === undefined ? {} : { after_seq: pageParam.after }),
            },
          },
        }),
      ),
    initialPageParam: (around === null ? {} : { before: around + PAGE / 2 }) as Where,
    // The next page holds older messages, the previous one newer ones.
    getNextPageParam: (page: MessageList): Where | null => {
      const first = page.items[0];
      return first && first.seq > 1 && page.items.length === PAGE ? { before: first.seq } : null;
    },
    getPreviousPageParam: (page: MessageList): Where | null => {
      const last = page.items.at(-1);
      return around === null || !last ? null : page.items.length === PAGE ? { after: last.seq } : null;
    },
  });
}

export function entriesOf(pages: Pages | undefined): Entry[] {
  return pages ? [...pages.pages].reverse().flatMap((page) => page.items) : [];
}

export function isMessage(entry: Entry): entry is Message {
  return "parts" in entry;
}

export function textOf(message: Message): string {
  return message.parts.flatMap((part) => (part.type === "text" ? part.text : [])).join("\n\n");
}

/** Let go of what is far above the end of a conversation; it is fetched again for who scrolls there. */
export function letGoOfOlder(app: string, session: string): void {
  letGo(messagesKey(app, session, null));
}

export async function rate(app: string, session: string, seq: number, feedback: Feedback): Promise<void> {
  const key = ["messages", app, session];
  const before = queries.getQueriesData<Pages>({ queryKey: key });
  const value = feedback.rating || feedback.comment ? feedback : null;
  queries.setQueriesData<Pages>({ queryKey: key }, (pages) =>
    pages && {
      ...pages,
      pages: pages.pages.map((page) => ({
        ...page,
        items: page.items.map((entry) => (entry.seq === seq ? { ...entry, feedback: value } : entry)) as MessageList["items"],
      })),
    },
  );
  try {
    const params = { path: { app, session_id: session, seq } };
    await inTurn(`${app}/${session}/${seq}`, () =>
      told(
        api.PUT("/v1/apps/{app}/sessions/{session_id}/messages/{seq}/feedback", {
          params,
          body: feedback,
          ...OUTLIVES_THE_PAGE,
        }),
      ),
    );
  } catch (error) {
    for (const [each, pages] of before) queries.setQueryData(each, pages);
    tellError(error);
  }
}

/** End the active path at the newest message of the branch that a message begins. */
export async function switchTo(app: string, session: string, seq: number): Promise<void> {
  try {
    const params = { path: { app, session_id: session } };
    await inTurn(`${app}/${session}`, () =>
      told(api.PUT("/v1/apps/{app}/sessions/{session_id}/head", { params, body: { seq, whole_branch: true } })),
    );
    await queries.invalidateQueries({ queryKey: ["messages", app, session] });
  } catch (error) {
    tellError(error);
  }
}
