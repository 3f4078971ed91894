"""Pages and the plain positions that engines continue from. Signing and encoding them is the API's business."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Generic, TypeVar

from chatkeep.domain.sessions import Session, SessionState

Item = TypeVar("Item")
Position = TypeVar("Position")


def _exact(value: object) -> str:
    """Return a text that only the same JSON value has: 1, 1.0 and true are three; the order of keys is none."""
    return json.dumps(value, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item, Position]):
    """Some items in order, and where the next page begins; None at the end."""

    items: tuple[Item, ...]
    next: Position | None


@dataclass(frozen=True, slots=True)
class SessionPosition:
    """The place of a session in the list: the next page holds what sorts after it."""

    pinned: bool
    modified_at_ms: int
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Which sessions a list shows.

    `state` None: active, pinned and unpinned, and archived too if `include_archived`. A `state` shows just that one.
    `metadata`: all of these top-level keys have exactly these JSON values.
    """

    state: SessionState | None = None
    include_archived: bool = False
    metadata: tuple[tuple[str, object], ...] = ()

    def admits_state(self, state: SessionState) -> bool:
        """Return whether a session in `state` is shown."""
        if self.state is not None:
            return state == self.state
        return state != "trashed" and (self.include_archived or state != "archived")

    def admits(self, session: Session) -> bool:
        """Return whether the session is shown."""
        if session.hidden or not self.admits_state(session.state):
            return False
        if not self.metadata:
            return True
        stored = session.metadata
        return all(key in stored and _exact(stored[key]) == _exact(value) for key, value in self.metadata)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search. `seq` None: the title matched. `highlights`: (start, end) in code points of `snippet`."""

    session: Session
    seq: int | None
    snippet: str
    highlights: tuple[tuple[int, int], ...]
    at_us: int
    """When the message was written, or the session modified, in microseconds since 1970; results are newest first."""


@dataclass(frozen=True, slots=True)
class HitPosition:
    """The place of a hit: newest first by `at_us`, then session id descending, then seq descending (a title is 0)."""

    at_us: int
    session_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was removed for good: counts by kind (`sessions`, `messages`, `runs`, `events`, `state`, `keys` …)."""

    removed: dict[str, int]

    def __add__(self, other: Receipt) -> Receipt:
        kinds = self.removed.keys() | other.removed.keys()
        return Receipt({kind: self.removed.get(kind, 0) + other.removed.get(kind, 0) for kind in sorted(kinds)})
