import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown } from "lucide-react";
import { type ReactNode, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { Entry } from "./data";

interface Props {
  entries: readonly Entry[];
  /** What stands below the last message: the answer that is being written. */
  tail: ReactNode;
  /** Changes whenever the tail grows. */
  tailKey: string;
  render: (entry: Entry, isLast: boolean) => ReactNode;
  hasOlder: boolean;
  hasNewer: boolean;
  isFetching: boolean;
  fetchOlder: () => void;
  fetchNewer: () => void;
  /** Called when the reader comes to the end. */
  onEnd: () => void;
  /** The message to begin at, instead of the end. */
  at: number | null;
}

const NEAR = 80;
const ESTIMATE = 120;

/** A conversation of any length: only what is seen is in the page, and nothing jumps when older messages come. */
export function Transcript({ entries, tail, tailKey, render, hasOlder, hasNewer, isFetching, fetchOlder, fetchNewer, onEnd, at }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const follows = useRef(true);
  const started = useRef(false);
  const height = useRef(0);

  const rows = useVirtualizer({
    count: entries.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ESTIMATE,
    getItemKey: (index) => entries[index]?.seq ?? index,
    overscan: 6,
    paddingStart: 56,
    gap: 10,
    // What is read stays where it was when older messages come above it.
    anchorTo: "end",
  });
  const items = rows.getVirtualItems();
  const total = rows.getTotalSize();

  const toEnd = useCallback(() => {
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, []);

  useLayoutEffect(() => {
    if (entries.length === 0) return;
    if (!started.current) {
      started.current = true;
      const index = at === null ? -1 : entries.findIndex((entry) => entry.seq === at);
      if (index >= 0) {
        follows.current = false;
        rows.scrollToIndex(index, { align: "center" });
        return;
      }
    }
    // The reader may have scrolled away just now, before the event that tells of it.
    const element = scroller.current;
    const wasAtEnd = element !== null && height.current - element.scrollTop - element.clientHeight < NEAR;
    if (follows.current && wasAtEnd) toEnd();
    height.current = element?.scrollHeight ?? 0;
  }, [entries, total, tailKey, at, rows, toEnd]);

  const onScroll = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    const left = element.scrollHeight - element.scrollTop - element.clientHeight;
    follows.current = left < NEAR;
    setAtEnd(left < NEAR);
    if (isFetching) return;
    if (hasOlder && element.scrollTop < 1_000) fetchOlder();
    if (hasNewer && left < 1_000) fetchNewer();
  }, [isFetching, hasOlder, hasNewer, fetchOlder, fetchNewer]);

  useEffect(onScroll, [onScroll, entries]);

  useEffect(() => {
    if (atEnd) onEnd();
  }, [atEnd, onEnd]);

  const shown = useMemo(() => items.map((item) => ({ item, entry: entries[item.index] })), [items, entries]);
  return (
    <div className="relative min-h-0 flex-1">
      <div ref={scroller} onScroll={onScroll} className="h-full overflow-y-auto" data-testid="transcript" tabIndex={0} role="region" aria-label="Conversation">
        <div className="mx-auto w-full max-w-3xl px-4 pb-8 md:px-6">
          <div className="relative" style={{ height: total }}>
            {shown.map(({ item, entry }) => entry && (
              <div key={item.key} data-index={item.index} ref={rows.measureElement} className="absolute inset-x-0 top-0" style={{ transform: `translateY(${item.start}px)` }}>
                {render(entry, item.index === entries.length - 1)}
              </div>
            ))}
          </div>
          {tail}
        </div>
      </div>
      {!atEnd && (
        <button
          type="button"
          className="button absolute bottom-3 start-1/2 -translate-x-1/2 rounded-full shadow-md rtl:translate-x-1/2"
          onClick={() => {
            follows.current = true;
            toEnd();
            height.current = scroller.current?.scrollHeight ?? 0;
          }}
        >
          <ArrowDown size={15} aria-hidden /> Latest
        </button>
      )}
    </div>
  );
}
