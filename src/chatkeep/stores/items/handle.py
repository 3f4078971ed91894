"""What all parts of the engine stand on: one item commits, its rows follow.

**The scheme.** A session is one item, its *head*: record, remembered keys, and a *tail*, the rows of the newest
appends. Every change of a session is one conditional put of its head, IF the version and the incarnation are those
that were read. So all changes of one session are in one total order, each happens wholly or not at all, and whoever
succeeds has seen all that came before: there is nothing to fold, to fence or to repair.

The log's own rows are copies. An append commits its rows inside the head, and a later append copies them to their place
while its own commit goes on (`attribute_not_exists`: a copy never changes a row); a large one does so itself, and takes
them out of the head. A row may leave the tail only when its copy is known to exist, so a committed row is always in the
tail or in the log, and a row in the log is always committed. Readers learn from the head which rows there are; where
both are there, the log's is newer, since feedback and redaction change it there.

A run is kept in the same way: its item is the head of its events. Its fence is the same condition: a taker raises the
token by a put of that item, after which no put of the former owner can succeed, and events are visible only below the
item's `last_event`.

An append needs no read: it puts what follows from the head that this handle has seen last, and looks only when that was
not the last one. A read looks always, but fetches the rows that will be wanted, if nobody has written since, beside the
head and not behind it. Such a row is either committed, or not among those that the head tells of.

**Rows without a head.** A put that was sent before its session was purged, pruned or trashed may arrive after. Such
rows are never seen, because every reader comes from a head, and they are found again: whoever is about to make rows
unreachable first writes a note in the work table, and notes are removed by `sweep` only an hour later, after a last
look. Signed requests are refused after 15 minutes, so that hour is enough.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from chatkeep.domain.errors import Closed, NotFound, StoreError
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, is_gone, to_ms
from chatkeep.ports.clock import Clock
from chatkeep.stores.items.heads import (
    Head,
    Row,
    StoredRun,
    change_stamp,
    head_from,
    head_to_item,
    run_from,
    run_to_item,
)
from chatkeep.stores.items.keys import extras_key, run_key, session_key
from chatkeep.stores.items.tables import ABSENT, LOG, SESSIONS, Condition, Key, Tables, bytes_of, together, unchanged
from chatkeep.stores.races import Raced, undisturbed

TAIL_BYTES = 128 * 1024
"""Rows beyond it are not kept in a head: an item holds 400 KiB at most, and each write costs by its size."""
SETTLED = timedelta(hours=1)
"""After that no request that was sent before can arrive any more."""
_REMEMBERED_COPIES = 10_000
_KNOWN_HEADS = 1_000
LIGHT_TAIL_BYTES = 16 * 1024
"""A larger tail is taken out of its head at once, and a head with one is not kept in memory."""

Result = TypeVar("Result")


class _Copied(NamedTuple):
    """Rows that are known to have their copy: all up to a number, and some beyond it where others have failed."""

    up_to: int = 0
    beyond: frozenset[int] = frozenset()

    def has(self, number: int) -> bool:
        """Return whether a row has its copy."""
        return number <= self.up_to or number in self.beyond

    def grown(self, up_to: int, beyond: Iterable[int]) -> _Copied:
        """Return what is known with more."""
        up_to = max(up_to, self.up_to)
        return _Copied(up_to, frozenset(number for number in self.beyond.union(beyond) if number > up_to))


class Handle:
    """One way into the tables: the clock, conditional puts of heads, copies of rows, and the rules of who is found."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock
        self._copied: OrderedDict[bytes, _Copied] = OrderedDict()
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._known: OrderedDict[Key, Head] = OrderedDict()

    def _now_ms(self) -> int:
        return to_ms(self._clock())

    async def _delete_all(self, table: str, keys: Sequence[Key]) -> int:
        """Remove items one by one and return how many were there."""
        return sum(await together(partial(self._tables.delete, table, key) for key in keys))

    async def _until_won(self, key: Key, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat `attempt`, which reads and then puts, until no other writer comes between.

        Within this handle those who change the same item take turns. Raises Unavailable after very many tries.
        """
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            return await self._undisturbed(attempt)

    async def _undisturbed(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat `attempt` until it is not Raced. Raises Unavailable after very many tries."""
        return await undisturbed(attempt)

    async def _head(self, scope: Scope, session_id: str) -> Head | None:
        """Return the head of a session, whatever its state, even if it is gone."""
        item = await self._tables.get(SESSIONS, session_key(scope, session_id))
        return None if item is None else head_from(scope, item)

    async def _present(self, scope: Scope, session_id: str) -> Head | None:
        """Return the head of a session that is not gone, live or trashed."""
        head = await self._head(scope, session_id)
        return None if head is None or is_gone(head.session, self._clock()) else head

    async def _live(self, scope: Scope, session_id: str) -> Head:
        """Return the head of a live session for reading; a trashed one is not found."""
        head = await self._present(scope, session_id)
        if head is None or head.session.state == "trashed":
            raise NotFound("session", session_id)
        return head

    async def _writable(self, scope: Scope, session_id: str) -> Head:
        """Return the head of a live session for writing; a trashed one is closed."""
        head = await self._present(scope, session_id)
        if head is None:
            raise NotFound("session", session_id)
        if head.session.state == "trashed":
            raise Closed(session_id)
        return head

    async def _save(self, head: Head) -> Head:
        """Put a head that was read and changed, or a new one. Raises Raced."""
        condition = unchanged(head.version, head.incarnation) if head.version else ABSENT
        saved = replace(head, version=head.version + 1)
        self._forget(head.key)
        await self._tables.put(SESSIONS, head.key, head_to_item(saved, self._clock()), condition)
        self._remember(saved)
        return saved

    def _remember(self, head: Head) -> None:
        """Know a head that was put or read, unless a newer one is known."""
        known = self._known.get(head.key)
        if known is not None and known.incarnation == head.incarnation and known.version > head.version:
            return
        if size_of(head.tail) <= LIGHT_TAIL_BYTES:
            self._known[head.key] = head
            self._known.move_to_end(head.key)
            if len(self._known) > _KNOWN_HEADS:
                self._known.popitem(last=False)

    def _forget(self, key: Key) -> Head | None:
        """Return the head that this handle has seen last, if it knows it, and know it no longer. It may be an old one
        by now: then a put of what follows from it is Raced.
        """
        return self._known.pop(key, None)

    async def _change(
        self,
        scope: Scope,
        session_id: str,
        change: Callable[[Session], Session],
        *,
        find: Callable[[Scope, str], Awaitable[Head]] | None = None,
    ) -> Session:
        """Apply a pure change to a session's record, found by `find` (as for writing), and return the result."""

        async def attempt() -> Session:
            head = await (find or self._writable)(scope, session_id)
            session = change(head.session)
            if session != head.session:
                await self._save(head.changed(session))
            return session

        return await self._until_won(session_key(scope, session_id), attempt)

    async def _touch(self, head: Head) -> None:
        """Mark the session as changed, for a change that its head does not show. Nothing happens if it is purged."""
        with suppress(Raced):
            await self._tables.update(
                SESSIONS,
                head.key,
                {"chg": change_stamp(self._clock())},
                unchanged_incarnation(head.incarnation),
            )

    async def _stored_run(self, scope: Scope, run_id: str) -> StoredRun | None:
        """Return a run's item, whatever its state and that of its session."""
        item = await self._tables.get(LOG, run_key(scope, run_id))
        return None if item is None else run_from(scope, run_id, item)

    async def _save_run(self, stored: StoredRun, *, instead_of: StoredRun | None = None) -> StoredRun:
        """Put a run that was read and changed, or a new one, or one instead of a gone session's. Raises Raced."""
        before = instead_of or stored
        condition = unchanged(before.version, before.incarnation) if before.version else ABSENT
        saved = replace(stored, version=before.version + 1)
        await self._tables.put(LOG, stored.key, run_to_item(saved), condition)
        return saved

    def _uncopied(self, head: Head | StoredRun) -> tuple[Row, ...]:
        """Return the rows of the tail that are not known to have their copy."""
        known = self._copied.get(head.partition, _Copied())
        return tuple(row for row in head.tail if not known.has(row.n))

    async def _copy(self, head: Head | StoredRun, rows: Sequence[Row]) -> None:
        """Copy committed rows of a tail to their place in the log. One that is there stays as it is.

        Where some fail, the others are remembered all the same. If all had to be tried again, a database that refuses
        some of its requests would be asked for more with each append, until hardly any came through.
        """
        done: list[int] = []

        async def copy(row: Row) -> None:
            await self._copy_row(head, row)
            done.append(row.n)

        try:
            await together(partial(copy, row) for row in rows)
        finally:
            self._note_copied(head, done)

    async def _copy_row(self, head: Head | StoredRun, row: Row) -> None:
        item = row.item
        if "body" not in item:
            spilled = await self._tables.get(LOG, Key(extras_key(head.incarnation), bytes_of(item, "spill")))
            if spilled is None:  # spilled bodies are removed after their row was copied
                return
            item = {**item, "body": spilled["body"]}
        with suppress(Raced):
            await self._tables.put(LOG, head.row_key(row.n), item, ABSENT)

    async def _commit(self, rows: Sequence[Row], head: Head | StoredRun, save: Awaitable[Result]) -> Result:
        """Await `save`, which puts a head that still holds `rows`, and copy these meanwhile.

        A failed copy changes nothing: its row is still in the tail, and the next append copies it again.
        """
        saved, copied = await asyncio.gather(save, self._copy(head, rows), return_exceptions=True)
        if isinstance(copied, BaseException) and not isinstance(copied, StoreError):
            raise copied
        if isinstance(saved, BaseException):
            raise saved
        return saved

    def _note_copied(self, head: Head | StoredRun, rows: Sequence[int]) -> None:
        """Remember that rows of a tail have their copy.

        What is no more in a tail has one, so that there is no gap below the first row of it that has none. The head may
        be an older one: of rows behind its tail it says nothing.
        """
        if not rows:
            return
        known = self._copied.pop(head.partition, _Copied())
        missing = [row.n for row in head.tail if not known.has(row.n) and row.n not in rows]
        up_to = missing[0] - 1 if missing else head.tail[-1].n
        self._copied[head.partition] = known.grown(up_to, rows)
        if len(self._copied) > _REMEMBERED_COPIES:
            self._copied.popitem(last=False)


def size_of(rows: Sequence[Row]) -> int:
    """Return about how many bytes rows take."""
    return sum(row.size for row in rows)


def unchanged_incarnation(incarnation: str) -> Condition:
    """Return the condition that an item still belongs to this incarnation."""
    return Condition(equal={"inc": incarnation})
