"""Summaries of a conversation: segments, and every change of them, as pure functions.

All of a session's segments are one value, changed by compare-and-set, so that no reader ever sees half of a change and
no worker can publish what was erased meanwhile. A *segment* stands for a run of whole turns of one path. It is
*published* once a context has used it, and then a context goes on using it, byte for byte, until it is replaced; until
then it is *ready*. `docs/decisions/0023` says why it is kept this way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from chatkeep.domain.paths import Ranges

Method = Literal["model", "extractive"]

FAN_IN = 4
"""So many segments of one level become one of the next."""
MAX_SEGMENT_BYTES = 4_096
MAX_SEGMENTS = 40
"""Of all branches, published and ready together."""
MAX_REDACTED = 2_000
MAX_FAILURES = 3
"""After so many failures in a row a summarizer gets a long rest."""
_FIRST_REST_MS = 2_000
_LONG_REST_MS = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """An immutable summary of the messages from `first_seq` to `last_seq` on the path that leads to `last_seq`.

    `level` 0 was made from messages, a higher one from segments. `tokens` is the estimate of the segment in a prompt,
    `source_tokens` that of what it stands for. `model` is the name of the one that wrote it. `pins` are the messages
    among them that a context goes on showing in full.
    """

    first_seq: int
    last_seq: int
    level: int
    text: str
    tokens: int
    source_tokens: int
    method: Method
    model: str | None = None
    pins: tuple[int, ...] = ()

    def covers(self, seq: int) -> bool:
        """Return whether the seq lies between its ends, on whatever branch."""
        return self.first_seq <= seq <= self.last_seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Summaries:
    """Everything that is kept of a session's summaries.

    `epoch` counts erasures; `redacted` are the seqs of the latest of them, which a worker leaves out of what it
    summarises even where their rows are not blank yet. `window` is the summary that the window preset uses.
    `lease_owner` works on the session until `lease_until_ms`; after `failures` in a row
    nobody does before `retry_at_ms`.
    """

    incarnation: str
    published: tuple[Segment, ...] = ()
    ready: tuple[Segment, ...] = ()
    window: Segment | None = None
    epoch: int = 0
    redacted: tuple[int, ...] = ()
    lease_owner: str = ""
    lease_until_ms: int = 0
    failures: int = 0
    retry_at_ms: int = 0

    def erased_since(self, epoch: int) -> Sequence[int] | None:
        """Return the seqs that were erased since that epoch; None if there were more than are remembered."""
        count = self.epoch - epoch
        if count > len(self.redacted):
            return None
        return self.redacted[len(self.redacted) - count :]


def to_bytes(summaries: Summaries) -> bytes:
    """Return the stored form."""
    value = {name: kept for name, kept in asdict(summaries).items() if kept}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@lru_cache(maxsize=64)
def from_bytes(value: bytes) -> Summaries:
    """Return what `to_bytes` wrote. Raises ValueError for anything else."""
    try:
        stored: dict[str, Any] = json.loads(value)
        for name in ("published", "ready"):
            stored[name] = tuple(map(_segment, stored.get(name, ())))
        window = stored.get("window")
        stored["window"] = None if window is None else _segment(window)
        stored["redacted"] = tuple(stored.get("redacted", ()))
        return Summaries(**stored)
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _segment(stored: dict[str, Any]) -> Segment:
    return Segment(**{**stored, "pins": tuple(stored["pins"])})


class Places:
    """Where the messages of a path stand: seqs as places 0, 1, 2 …, and back."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._before: list[int] = []
        count = 0
        for low, high in ranges:
            self._before.append(count)
            count += high - low + 1
        self.count = count

    def of(self, seq: int) -> int | None:
        """Return the place of a message, None if it is not on the path."""
        for (low, high), before in zip(reversed(self._ranges), reversed(self._before), strict=True):
            if low <= seq <= high:
                return before + seq - low
            if seq > high:
                return None
        return None

    def seq(self, place: int) -> int:
        """Return the seq of a place below `count`."""
        for (low, _), before in zip(reversed(self._ranges), reversed(self._before), strict=True):
            if place >= before:
                return low + place - before
        raise IndexError(place)

    def seqs(self, start: int, stop: int) -> Ranges:
        """Return the ranges of the seqs at the places from `start` on, below `stop`."""
        found: list[tuple[int, int]] = []
        for (low, high), before in zip(self._ranges, self._before, strict=True):
            first, last = max(low, low + start - before), min(high, low + stop - 1 - before)
            if first <= last:
                found.append((first, last))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Placed:
    """A segment on a path: it stands for the places from `start` on, below `stop`."""

    segment: Segment
    start: int
    stop: int


def placed(segments: Iterable[Segment], places: Places) -> list[Placed]:
    """Return those of the segments that apply to the path, apart from each other, in its order.

    Of two that overlap, the one that stands for more applies; of equals the later one.
    """
    found = sorted(_by_level(segments, places), key=lambda one: one.stop - one.start)
    apart: list[Placed] = []
    for one in reversed(found):
        if all(one.stop <= other.start or one.start >= other.stop for other in apart):
            apart.append(one)
    return sorted(apart, key=lambda one: one.start)


def gaps(chain: Sequence[Placed]) -> list[tuple[int, int]]:
    """Return the places, from a start below a stop, that lie before or between the segments of the chain."""
    found: list[tuple[int, int]] = []
    reached = 0
    for one in chain:
        if one.start > reached:
            found.append((reached, one.start))
        reached = one.stop
    return found


def anchor(chain: Sequence[Placed]) -> int:
    """Return the place behind the last segment: from there on the messages stand for themselves."""
    return chain[-1].stop if chain else 0


def published(summaries: Summaries, places: Places, *, extra: Sequence[Segment] = ()) -> Summaries:
    """Return the summaries with all that is ready for the path, and `extra`, published.

    A segment that goes on where the chain ends, or fills a gap of it, is added; one that stands for whole segments of
    it replaces them. What has become superfluous goes; what is for another path stays ready.
    """
    waiting = _by_level(summaries.ready, places) + _by_level(extra, places)
    chain = placed(summaries.published, places)
    taken = True
    while taken:
        taken = False
        for one in list(waiting):
            inside = [old for old in chain if one.start <= old.start and old.stop <= one.stop]
            apart = all(old in inside or old.stop <= one.start or one.stop <= old.start for old in chain)
            if apart and one.start <= anchor(chain):
                chain = sorted([*(old for old in chain if old not in inside), one], key=lambda each: each.start)
                waiting.remove(one)
                taken = True
    live = tuple(one.segment for one in chain)
    if live == tuple(one.segment for one in placed(summaries.published, places)):
        return summaries
    ahead = {one.segment for one in waiting if one.start >= anchor(chain)}
    return _bounded(
        replace(
            summaries,
            published=(*_elsewhere(summaries.published, places), *live),
            ready=tuple(
                segment for segment in summaries.ready if segment in ahead or places.of(segment.last_seq) is None
            ),
        ),
        places,
    )


def _by_level(segments: Iterable[Segment], places: Places) -> list[Placed]:
    """Return the segments that apply to the path, overlapping or not; those made from messages first."""
    found: list[Placed] = []
    for segment in segments:
        start, last = places.of(segment.first_seq), places.of(segment.last_seq)
        if start is not None and last is not None:
            found.append(Placed(segment, start, last + 1))
    return sorted(found, key=lambda one: (one.segment.level, one.start))


def _elsewhere(segments: Iterable[Segment], places: Places) -> tuple[Segment, ...]:
    return tuple(segment for segment in segments if places.of(segment.last_seq) is None)


def with_ready(summaries: Summaries, segment: Segment, places: Places) -> Summaries:
    """Return the summaries with one more that waits for its publication; the same places are kept once."""
    others = tuple(
        one for one in summaries.ready if (one.first_seq, one.last_seq) != (segment.first_seq, segment.last_seq)
    )
    return _bounded(replace(summaries, ready=(*others, segment)), places)


def _bounded(summaries: Summaries, places: Places) -> Summaries:
    """Return the summaries without the oldest of too many, first of other paths."""
    many = len(summaries.published) + len(summaries.ready) - MAX_SEGMENTS
    if many <= 0:
        return summaries
    spare = [*_elsewhere(summaries.published, places), *_elsewhere(summaries.ready, places), *summaries.ready][:many]
    return replace(
        summaries,
        published=tuple(segment for segment in summaries.published if segment not in spare),
        ready=tuple(segment for segment in summaries.ready if segment not in spare),
    )


def without(summaries: Summaries, seq: int) -> Summaries:
    """Return the summaries after the erasure of a message: without any that may tell of it, in a new epoch."""
    return replace(
        _kept(summaries, lambda segment: not segment.covers(seq)),
        epoch=summaries.epoch + 1,
        redacted=(*summaries.redacted, seq)[-MAX_REDACTED:],
    )


def emptied(summaries: Summaries) -> Summaries:
    """Return the summaries without any; whoever is at work on one will find that it is not wanted."""
    return replace(summaries, published=(), ready=(), window=None, lease_owner="", lease_until_ms=0)


def above(summaries: Summaries, first_seq: int) -> Summaries:
    """Return the summaries without any that tell of a message below `first_seq`, which is gone."""
    return _kept(summaries, lambda segment: segment.first_seq >= first_seq)


def _kept(summaries: Summaries, stays: Callable[[Segment], bool]) -> Summaries:
    window = summaries.window
    return replace(
        summaries,
        published=tuple(filter(stays, summaries.published)),
        ready=tuple(filter(stays, summaries.ready)),
        window=window if window is None or stays(window) else None,
    )


def leased(summaries: Summaries, owner: str, *, now_ms: int, lease_ms: int) -> Summaries | None:
    """Return the summaries with a lease for the owner; None while another has one, or while a rest is due."""
    taken = summaries.lease_owner not in ("", owner) and now_ms < summaries.lease_until_ms
    if taken or now_ms < summaries.retry_at_ms:
        return None
    return replace(summaries, lease_owner=owner, lease_until_ms=now_ms + lease_ms)


def freed(summaries: Summaries, *, failed: bool, now_ms: int) -> Summaries:
    """Return the summaries without the lease; after a failure with a rest, longer after each."""
    failures = summaries.failures + 1 if failed else 0
    rest = _LONG_REST_MS if failures >= MAX_FAILURES else _FIRST_REST_MS * 2**failures
    return replace(
        summaries,
        lease_owner="",
        lease_until_ms=0,
        failures=failures,
        retry_at_ms=now_ms + rest if failed else 0,
    )
