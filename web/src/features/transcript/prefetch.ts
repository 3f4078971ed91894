import { api, told } from "@/api/client";
import { queries } from "@/app/query";
import { messagesKey } from "./data";

/** Fetch the newest messages of a session that is likely to be opened. */
export function prefetchMessages(app: string, session: string): void {
  void queries.prefetchInfiniteQuery({
    queryKey: messagesKey(app, session, null),
    queryFn: () =>
      told(
        api.GET("/v1/apps/{app}/sessions/{session_id}/messages", {
          params: { path: { app, session_id: session }, query: { limit: 50 } },
        }),
      ),
    initialPageParam: {},
  });
}
