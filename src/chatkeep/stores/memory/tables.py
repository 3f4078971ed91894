"""What the memory store holds, and how much of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from chatkeep.domain.errors import Closed, NotFound, Unavailable
from chatkeep.domain.ids import check_id
from chatkeep.domain.messages import MessageStatus, Role
from chatkeep.domain.pages import Receipt
from chatkeep.domain.runs import Run
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, is_gone
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import State

ROW_BYTES = 512
"""What one row is reckoned to cost beside its content."""


class Row(NamedTuple):
    """A stored message."""

    parent_seq: int
    uid: bytes
    role: Role
    status: MessageStatus
    created_at_us: int
    redacted: bool
    feedback_json: str | None
    body: bytes

    @property
    def size(self) -> int:
        """Its share of the limit, in bytes."""
        return ROW_BYTES + len(self.body)


class Key(NamedTuple):
    """A remembered idempotency key."""

    digest_hash: bytes
    first_seq: int
    last_seq: int


@dataclass(slots=True)
class Shelf:
    """One incarnation of a session and all that goes with it."""

    record: Session
    rows: dict[int, Row] = field(default_factory=dict)
    keys: dict[bytes, Key] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    run_ids: list[str] = field(default_factory=list)
    size: int = 0
    uncharged: int = 0
    """What the record itself will be reckoned with its first charge."""


@dataclass(slots=True)
class StoredRun:
    """A run, its events, and the incarnation it belongs to."""

    run: Run
    shelf: Shelf
    events: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Tables:
    """The data behind any number of handles."""

    shelves: dict[Scope, dict[str, Shelf]] = field(default_factory=dict)
    runs: dict[Scope, dict[str, StoredRun]] = field(default_factory=dict)
    versions: Counter[Scope] = field(default_factory=Counter)
    size: int = 0


class Handle:
    """One way into the tables: the clock, the limit, and the rules of who is found.

    No method of the store awaits anything, so each is one critical section of the event loop: atomic. A method first
    computes and checks, then changes.
    """

    def __init__(self, clock: Clock, tables: Tables, max_bytes: int) -> None:
        self._clock = clock
        self._tables = tables
        self._max_bytes = max_bytes
        self._closed = False

    def _open(self) -> Tables:
        if self._closed:
            raise Unavailable("the memory store is closed; open a new one")
        return self._tables

    def _present(self, scope: Scope, session_id: str) -> Shelf | None:
        """Return the shelf of a session that is not gone, live or trashed."""
        check_id(session_id, "session_id")
        shelf = self._open().shelves.get(scope, {}).get(session_id)
        return None if shelf is None or is_gone(shelf.record, self._clock()) else shelf

    def _live(self, scope: Scope, session_id: str) -> Shelf:
        """Return the shelf of a live session for reading; a trashed one is not found."""
        shelf = self._present(scope, session_id)
        if shelf is None or shelf.record.state == "trashed":
            raise NotFound("session", session_id)
        return shelf

    def _writable(self, scope: Scope, session_id: str) -> Shelf:
        """Return the shelf of a live session for writing; a trashed one is closed."""
        shelf = self._present(scope, session_id)
        if shelf is None:
            raise NotFound("session", session_id)
        if shelf.record.state == "trashed":
            raise Closed(session_id)
        return shelf

    def _charge(self, shelf: Shelf, size: int) -> None:
        """Count `size` more bytes, or fewer if negative. Raises Unavailable, before anything changed."""
        tables = self._open()
        size += shelf.uncharged
        if size > 0 and tables.size + size > self._max_bytes:
            raise Unavailable(
                f"the memory store is full: it holds {tables.size} of {self._max_bytes} bytes and {size} more were "
                "asked for; purge sessions, raise max_bytes, or choose an engine with a disk"
            )
        tables.size += size
        shelf.size += size
        shelf.uncharged = 0

    def _put(self, scope: Scope, shelf: Shelf, record: Session) -> Session:
        """Make `record` the stored one and return it."""
        if record != shelf.record:
            shelf.record = record
            self._touch(scope)
        return record

    def _touch(self, scope: Scope) -> None:
        self._tables.versions[scope] += 1

    def _discard(self, scope: Scope, shelf: Shelf) -> Receipt:
        """Remove one incarnation with everything that belongs to it."""
        tables = self._tables
        runs = tables.runs.get(scope, {})
        events = sum(len(runs[run_id].events) for run_id in shelf.run_ids)
        for run_id in shelf.run_ids:
            del runs[run_id]
        if not runs:
            tables.runs.pop(scope, None)
        shelves = tables.shelves[scope]
        del shelves[shelf.record.id]
        if not shelves:
            del tables.shelves[scope]
        tables.size -= shelf.size
        self._touch(scope)
        counts = {
            "sessions": 1,
            "messages": len(shelf.rows),
            "keys": len(shelf.keys),
            "state": len(shelf.states),
            "runs": len(shelf.run_ids),
            "events": events,
        }
        return Receipt({kind: count for kind, count in counts.items() if count})
