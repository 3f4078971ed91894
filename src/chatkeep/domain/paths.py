"""Branches: which messages lie on the path from the first one to a head.

A message's parent is almost always the message before it. Only the exceptions are kept, as `jumps`: pairs
`(seq, parent_seq)` with `parent_seq != seq - 1`, ascending. Any path follows from them without reading a message.
"""

from __future__ import annotations

from bisect import bisect_right

Jumps = tuple[tuple[int, int], ...]
Ranges = tuple[tuple[int, int], ...]

MAX_JUMPS = 1_000
"""Branch points that one session may hold; a session that needs more is forked."""


def path_ranges(head_seq: int, jumps: Jumps, first_seq: int) -> Ranges:
    """Return the inclusive seq ranges of the path to `head_seq`, ascending, without what lies below `first_seq`.

    Head 0 is the empty path.
    """
    ranges: list[tuple[int, int]] = []
    seq = head_seq
    while seq >= first_seq and seq > 0:
        at = bisect_right(jumps, (seq, seq)) - 1
        low, parent = jumps[at] if at >= 0 else (1, 0)
        ranges.append((max(low, first_seq), seq))
        seq = parent
    return tuple(reversed(ranges))


def path_length(ranges: Ranges) -> int:
    """Return how many messages the ranges hold."""
    return sum(high - low + 1 for low, high in ranges)


def clip(ranges: Ranges, *, after_seq: int, before_seq: int | None) -> Ranges:
    """Return the part of `ranges` with `after_seq < seq < before_seq`."""
    clipped = (
        (max(low, after_seq + 1), high if before_seq is None else min(high, before_seq - 1)) for low, high in ranges
    )
    return tuple((low, high) for low, high in clipped if low <= high)


def ends_of(ranges: Ranges, limit: int, *, newest_first: bool) -> Ranges:
    """Return the `limit` first or last seqs of `ranges`, as ranges, ascending."""
    kept: list[tuple[int, int]] = []
    for low, high in reversed(ranges) if newest_first else ranges:
        if limit <= 0:
            break
        if newest_first:
            kept.insert(0, (max(low, high - limit + 1), high))
        else:
            kept.append((low, min(high, low + limit - 1)))
        limit -= high - low + 1
    return tuple(kept)


def on_path(seq: int, ranges: Ranges) -> bool:
    """Return whether `seq` lies in one of the ranges."""
    return any(low <= seq <= high for low, high in ranges)


def newest_leaf(seq: int, jumps: Jumps, *, first_seq: int, last_seq: int) -> int:
    """Return the newest message whose path leads through `seq`: the end of its branch, itself if nothing follows."""
    ends = [last_seq, *(child - 1 for child, _ in reversed(jumps))]
    return next((end for end in ends if on_path(seq, path_ranges(end, jumps, first_seq))), seq)


def parent_of(seq: int, jumps: Jumps) -> int:
    """Return the parent of `seq`; 0 for the first message of a path."""
    return dict(jumps).get(seq, seq - 1)


class Families:
    """Which messages of a session share a parent; made once, asked for many."""

    def __init__(self, jumps: Jumps, *, first_seq: int, last_seq: int) -> None:
        self._parents = dict(jumps)
        children: dict[int, list[int]] = {}
        for child, parent in jumps:
            if child >= first_seq:
                children.setdefault(parent, []).append(child)
        for parent, found in children.items():
            follower = parent + 1
            if first_seq <= follower <= last_seq and follower not in self._parents:
                found.append(follower)
        self._children = {parent: tuple(sorted(found)) for parent, found in children.items()}

    def siblings(self, seq: int) -> tuple[int, ...]:
        """Return every seq with the same parent as `seq`, itself included, ascending."""
        return self._children.get(self._parents.get(seq, seq - 1)) or (seq,)
