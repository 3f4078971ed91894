import type { InfiniteData, QueryKey } from "@tanstack/react-query";
import { queries } from "@/app/query";

const KEPT = 2;

/** Keep the first pages alone: every page that is held is fetched anew whenever something changes. */
export function letGo(queryKey: QueryKey): void {
  const held = queries.getQueryData<InfiniteData<unknown>>(queryKey);
  if (held === undefined || held.pages.length <= KEPT) return;
  queries.setQueryData(queryKey, { pages: held.pages.slice(0, KEPT), pageParams: held.pageParams.slice(0, KEPT) });
}
