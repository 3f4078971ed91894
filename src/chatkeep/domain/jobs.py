"""What a background worker does next for the summaries of a session."""

from __future__ import annotations

from collections.abc import Sequence

from chatkeep.domain.budgets import Budget, ContextPolicy
from chatkeep.domain.context import before_window, is_too_much, stands_for, window_start
from chatkeep.domain.drafts import segment_tokens
from chatkeep.domain.folding import Entry, Job, mergeable, oldest, squeezable, turns_of
from chatkeep.domain.summaries import Method, Places, Summaries, anchor, gaps, placed, published

_MOST_CHUNKS = 4
"""A segment that was made at once from more is not made again by a model: it would be too much to read."""


def next_job(
    places: Places,
    tail: Sequence[Entry],
    summaries: Summaries,
    budget: Budget,
    *,
    fixed_tokens: int,
    factor: float,
    refine: bool,
) -> Job | None:
    """Return what is due, or None. Pure.

    `tail` are the messages behind the last segment, published or ready (`covered_to`); `fixed_tokens` is what comes
    first in every prompt. First comes a gap that an erasure left, then the oldest turns of the tail once a prompt would
    have more than what is retained and a chunk, then a merge of segments, then, with `refine`, a segment that was made
    without a model.
    """
    chain = placed(published(summaries, places).published, places)
    holes = gaps(chain)
    if holes:
        return Job(*holes[0])
    turns = turns_of(tail)
    leave = budget.verbatim(fixed_tokens + segment_tokens(chain, factor))
    count = oldest(turns, factor=factor, at_least=budget.chunk, leave=leave)
    if sum(turn.tokens for turn in turns[:count]) * factor >= budget.chunk:
        start = anchor(chain)
        stop = places.of(turns[count].entries[0].seq)
        return Job(start, start if stop is None else stop)
    run = mergeable(chain) or (squeezable(chain) if is_too_much(chain, budget, factor) else [])
    if run:
        return Job(run[0].start, run[-1].stop, tuple(one.segment for one in run))
    if refine:
        for one in chain:
            segment = one.segment
            is_small = segment.source_tokens * factor <= _MOST_CHUNKS * budget.chunk
            if segment.method == "extractive" and segment.level == 0 and is_small and segment.text:
                return Job(one.start, one.stop, again=True)
    return None


def window_job(
    places: Places, entries: Sequence[Entry], summaries: Summaries, policy: ContextPolicy, *, method: Method
) -> Job | None:
    """Return what the window preset will need for the next question, or None if that is kept. `entries` are the newest
    messages of the path. Pure.
    """
    start = places.of(window_start(entries, policy.recent - 1))
    if start is None or start == 0:
        return None
    before = before_window(places, entries, start, policy.summarised)
    first = places.of(before[0].seq) if before else None
    kept = summaries.window
    if first is None or (kept is not None and stands_for(kept, before) and kept.method == method):
        return None
    return Job(first, start)


def covered_to(places: Places, summaries: Summaries) -> int:
    """Return the place behind the last segment, published or ready."""
    return anchor(placed(published(summaries, places).published, places))
