"""What is asked of Chatkeep on SQLite, and whether the results are enough."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.compare import APPENDED, LISTED, PROCESSES, READ, Results
from benchmarks.sides import FASTEST_PEER, FLOOR, OURS

FLAT = 1.25
_APPEND, _READ, _LIST = f"append {APPENDED[-1]}", f"read {READ[-1]}", f"list {LISTED[-1]}"
_TWICE_INLINE = "twice the inline read and a hop"
_FASTER = "how much faster than the fastest peer"
_PEER_ALL = (FASTEST_PEER, "read all")
_MANY = f"crowd {PROCESSES} 1000"


class Bar(NamedTuple):
    """A value of Chatkeep's, or its ratio to another one, and the bound it must keep to."""

    words: str
    what: str
    bound: float
    unit: str = "times"
    least: bool = False
    """Whether the bound is the least that is enough, instead of the most."""
    against: tuple[str, str] | None = None
    """Side and kind of work that the value is divided by."""
    upside_down: bool = False
    """Whether it is the other one's value that is divided."""
    side: str = OURS


BARS = (
    Bar(f"append a turn to a session of {APPENDED[-1]:,}, syncs free", _APPEND, 80, "µs"),
    Bar(f"the same, against a session of {APPENDED[1]}", _APPEND, FLAT, against=(OURS, f"append {APPENDED[1]}")),
    Bar("the same, against the floor", _APPEND, 1.5, against=(FLOOR, _APPEND)),
    Bar(
        _FASTER,
        _APPEND,
        1.5,
        least=True,
        against=(FASTEST_PEER, _APPEND),
        upside_down=True,
    ),
    Bar(f"read the last 20 of {READ[-1]:,}, through a thread", _READ, 60, "µs"),
    Bar("the same, against twice the inline floor and a hop", _READ, 1, against=(FLOOR, _TWICE_INLINE)),
    Bar(_FASTER, _READ, 1.5, least=True, against=(FASTEST_PEER, _READ), upside_down=True),
    Bar("read 1,000, against the floor", "read all", 1.3, against=(FLOOR, "read all")),
    Bar(_FASTER, "read all", 2, least=True, against=_PEER_ALL, upside_down=True),
    Bar(f"list 50 of {LISTED[-1]:,} sessions", _LIST, 120, "µs"),
    Bar(f"the same, against {LISTED[1]:,} sessions", _LIST, FLAT, against=(OURS, f"list {LISTED[1]}")),
    Bar("the same, against the floor", _LIST, 2.5, against=(FLOOR, _LIST)),
    Bar("100 sessions at once, a sync takes 1 ms", "crowd 1 1000", 9_000, "turns/s", least=True),
    Bar("the same, against the floor", "crowd 1 1000", 0.65, least=True, against=(FLOOR, "crowd 1 1000")),
    Bar("the same, against the fastest peer", "crowd 1 1000", 15, least=True, against=(FASTEST_PEER, "crowd 1 1000")),
    Bar("100 sessions at once, syncs free", "crowd 1 0", 12_000, "turns/s", least=True),
    Bar("the same, against the floor", "crowd 1 0", 0.65, least=True, against=(FLOOR, "crowd 1 0")),
    Bar("the same, against the fastest peer", "crowd 1 0", 6, least=True, against=(FASTEST_PEER, "crowd 1 0")),
    Bar(f"from {PROCESSES} processes, a sync takes 1 ms", _MANY, 5_000, "turns/s", least=True),
    Bar("the same, against the floor", _MANY, 0.6, least=True, against=(FLOOR, _MANY)),
    Bar("the same, against the fastest peer", _MANY, 10, least=True, against=(FASTEST_PEER, _MANY)),
    Bar("a message on the disk, without search", "bytes", 720, "bytes", side="Chatkeep without search"),
    Bar("a message on the disk, with search", "bytes", 1_000, "bytes"),
    Bar("import and open", "seconds", 0.2, "s"),
    Bar("memory after it", "mib", 45, "MiB"),
)


def _fastest(work: str, bound: float, *peers: str) -> list[Bar]:
    """Return how much faster than each of these peers; the least of the ratios is the one to the fastest."""
    least = work.startswith("crowd")
    return [Bar(f"than {peer}", work, bound, least=True, against=(peer, work), upside_down=not least) for peer in peers]


_PEERS_ON_POSTGRES = (
    "OpenAI Agents SDK, SQLAlchemySession",
    "Google ADK, DatabaseSessionService",
    "LangGraph, AsyncPostgresSaver",
)
_PEERS_ON_REDIS = ("OpenAI Agents SDK, RedisSession", "LangChain, RedisChatMessageHistory")
_CROWD, _COSTLY_CROWD = "crowd 1 0", "crowd 1 1000"
_AGAINST_FLOOR = (
    Bar(f"append a turn to a session of {APPENDED[-1]:,}, against the floor", _APPEND, 1.5, against=(FLOOR, _APPEND)),
    Bar(f"read the last 20 of {READ[-1]:,}, against the floor", _READ, 1.5, against=(FLOOR, _READ)),
    Bar(f"list 50 of {LISTED[-1]:,} sessions, against the floor", _LIST, 1.5, against=(FLOOR, _LIST)),
    Bar("100 sessions at once, against the floor", _CROWD, 0.67, least=True, against=(FLOOR, _CROWD)),
)
ENGINE_BARS: dict[str, Sequence[Bar]] = {
    "PostgreSQL": (
        Bar(f"append a turn to a session of {APPENDED[-1]:,}, syncs free", _APPEND, 150, "µs"),
        Bar(f"the same, against a session of {APPENDED[1]}", _APPEND, FLAT, against=(OURS, f"append {APPENDED[1]}")),
        Bar("the same, against the floor", _APPEND, 1.4, against=(FLOOR, _APPEND)),
        *_fastest(_APPEND, 2.3, *_PEERS_ON_POSTGRES),
        Bar(f"read the last 20 of {READ[-1]:,}", _READ, 155, "µs"),
        Bar(f"the same, against a session of {READ[0]}", _READ, FLAT, against=(OURS, f"read {READ[0]}")),
        Bar("the same, against the floor", _READ, 1.25, against=(FLOOR, _READ)),
        *_fastest(_READ, 3.5, *_PEERS_ON_POSTGRES),
        Bar(f"list 50 of {LISTED[-1]:,} sessions", _LIST, 200, "µs"),
        Bar(f"the same, against {LISTED[1]:,} sessions", _LIST, FLAT, against=(OURS, f"list {LISTED[1]}")),
        Bar("the same, against the floor", _LIST, 1.5, against=(FLOOR, _LIST)),
        *_fastest(_LIST, 15, "Google ADK, DatabaseSessionService"),
        Bar("100 sessions at once, syncs free", _CROWD, 6_000, "turns/s", least=True),
        Bar("the same, against the floor", _CROWD, 0.65, least=True, against=(FLOOR, _CROWD)),
        *_fastest(_CROWD, 4, *_PEERS_ON_POSTGRES),
        Bar("100 sessions at once, a sync takes 1 ms", _COSTLY_CROWD, 3_500, "turns/s", least=True),
        Bar("the same, against the floor", _COSTLY_CROWD, 0.65, least=True, against=(FLOOR, _COSTLY_CROWD)),
        *_fastest(_COSTLY_CROWD, 4, *_PEERS_ON_POSTGRES),
    ),
    "Redis": (
        Bar(f"append a turn to a session of {APPENDED[-1]:,}", _APPEND, 130, "µs"),
        Bar("the same, against the floor", _APPEND, 1.25, against=(FLOOR, _APPEND)),
        *_fastest(_APPEND, 1.3, *_PEERS_ON_REDIS),
        Bar(f"read the last 20 of {READ[-1]:,}", _READ, 90, "µs"),
        Bar("the same, against the floor", _READ, 1.25, against=(FLOOR, _READ)),
        *_fastest(_READ, 1.3, *_PEERS_ON_REDIS),
        Bar("100 sessions at once", _CROWD, 5_000, "turns/s", least=True),
        Bar("the same, against the floor", _CROWD, 0.8, least=True, against=(FLOOR, _CROWD)),
        *_fastest(_CROWD, 1.3, *_PEERS_ON_REDIS),
    ),
    "others": _AGAINST_FLOOR,
}


def value(results: Results, side: str, what: str) -> float | None:
    """Return the median of what was measured; None where nothing was."""
    found = results.get(side, {})
    if what == _TWICE_INLINE:
        inline, hop = value(results, side, _READ), value(results, side, "hop")
        return None if inline is None or hop is None else 2 * inline + hop
    if what in {"seconds", "mib"}:
        return found["open"][what] if found.get("open") else None
    if what == "bytes":
        return found["size"]["bytes"] if found.get("size") else None
    measured = [part["rate"] if isinstance(part, dict) else part for part in found.get(what) or ()]
    return statistics.median(measured) if measured else None


def judged(results: Results, bars: Sequence[Bar]) -> list[tuple[str, str, str, str]]:
    """Return each bar that something was measured for: words, bound, value, and whether it is met."""
    rows = []
    for bar in bars:
        measured = value(results, bar.side, bar.what)
        other = value(results, *bar.against) if bar.against else 1.0
        if not measured or not other:
            continue
        ratio = other / measured if bar.upside_down else measured / other
        met = ratio >= bar.bound if bar.least else ratio <= bar.bound
        sign = "≥" if bar.least else "≤"
        digits = ",.0f" if ratio >= 30 else ".2f"  # noqa: PLR2004 -- as many digits as say something
        rows.append((bar.words, f"{sign} {bar.bound:,g} {bar.unit}", f"{ratio:{digits}}", "yes" if met else "**no**"))
    return rows
