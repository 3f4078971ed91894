"""The log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal

from chatkeep.domain.errors import NotFound
from chatkeep.domain.ids import check_id
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import Feedback, Message, Unreadable
from chatkeep.domain.paths import Ranges, clip, ends_of
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, is_gone, is_live, pruned, to_ms, with_head
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import Appended
from chatkeep.stores.batches import REMEMBERED_MESSAGES, Appending, Batch, forgets, message_of, repeated
from chatkeep.stores.checks import MAX_SEQ, check_feedback
from chatkeep.stores.codec import EMPTY_BODY, decode, encode_feedback, fault, is_sound
from chatkeep.stores.gathering import Gathering
from chatkeep.stores.postgres.engine import Connection, Engine, Row
from chatkeep.stores.postgres.growing import Growth, grow, grow_all, growth_of
from chatkeep.stores.postgres.lease import Connections
from chatkeep.stores.postgres.records import (
    Stored,
    bury,
    find,
    insert,
    save,
    scope_names,
    writable,
)
from chatkeep.stores.postgres.removal import STEP_ROWS
from chatkeep.stores.postgres.texts import stored as as_stored
from chatkeep.stores.races import Raced, undisturbed

_TOGETHER = 32
"""Appends, or reads, that one statement does: few enough that the database and this process work at the same time."""
_PATIENCE_SECONDS = 0.02
_SMALL_READ = 100
_SMALL_APPEND_BYTES = 64 * 1024
"""What is larger goes alone, so that nobody waits for it."""


_DECODE = (decode,)


def _entry(row: Row) -> Message | Unreadable:
    reason = fault(row[8])
    return message_of((*row, decode)) if reason is None else Unreadable(row[0], reason)


def _entries(rows: Iterable[Row]) -> list[Message | Unreadable]:
    """Return what `_entry` returns for each row, in less time: most rows are of sound bodies."""
    return [message_of(row[:] + _DECODE) if is_sound(row[8]) else _entry(row) for row in rows]


class PostgresLog(Appending, Engine):
    """The append-only log of messages, one per session."""

    def __init__(self, clock: Clock, connections: Connections, queries: Mapping[str, str]) -> None:
        super().__init__(clock, connections, queries)
        self._growths = Gathering(self._grow, most=_TOGETHER, patience_seconds=_PATIENCE_SECONDS)
        self._newest = Gathering(self._read_newest, most=_TOGETHER, patience_seconds=_PATIENCE_SECONDS)

    async def _add(self, scope: Scope, batch: Batch) -> Appended:
        known = self._known.get((scope, batch.session_id))
        if known is not None:
            at_once = await self._append_at_once(scope, known, batch)
            if at_once is not None:
                return at_once

        async def append(db: Connection) -> tuple[Appended, Stored]:
            now = self._clock()
            stored = await find(db, scope, batch.session_id, lock=True)
            old = None if stored is None or is_gone(stored.session, now) else stored
            before = batch.before(None if old is None else old.session, now)
            remembered = None if old is None else await db.row("find_key", old.key, batch.key_hash)
            if old is not None and remembered is not None:
                return repeated(batch, before, *remembered), old
            grown = batch.grown(before, now)
            if old is None:
                if stored is not None:
                    await bury(db, stored)
                old = await insert(db, scope, before)
            return await _grow_locked(db, old, grown, batch, now)

        done, stored = await self._write(append)
        self._remember(scope, stored)
        return done

    async def _append_at_once(self, scope: Scope, known: Stored, batch: Batch) -> Appended | None:
        """Append behind the record that this process knows; None if it is not the last one, or must be looked at."""
        now = self._clock()
        grown = batch.grown_from(known.session, now)
        if grown is None or forgets(known.session.last_seq, grown.last_seq):
            return None
        growth = growth_of(known, grown, batch, batch.numbered(known.session, grown, now))
        if sum(map(len, batch.bodies)) <= _SMALL_APPEND_BYTES:
            changed = await self._growths.ask(growth)
        else:
            (changed,) = await self._grow([growth])
        if changed is None:
            return None
        done, stored = growth.done(changed)
        self._remember(scope, stored)
        return done

    async def _grow(self, growths: Sequence[Growth]) -> Sequence[int | None]:
        if len(growths) == 1:
            return [await self._read(lambda db: grow(db, growths[0]))]
        return await self._read(lambda db: grow_all(db, growths))

    async def read(
        self,
        scope: Scope,
        session_id: str,
        *,
        after_seq: int = 0,
        before_seq: int | None = None,
        limit: int,
        newest_first: bool = False,
        path: Literal["active", "all"] = "active",
    ) -> Sequence[Message | Unreadable]:
        check_id(session_id, "session_id")
        check_limit(limit, MAX_READ)

        def wanted(session: Session) -> Ranges:
            whole = ((session.first_seq, session.last_seq),)
            shown = whole if path == "all" else session.path
            clipped = clip(shown, after_seq=after_seq, before_seq=before_seq)
            return ends_of(clipped, limit, newest_first=newest_first)

        async def in_branches() -> list[Message | Unreadable]:
            """Read a path with branches; or find that there is nothing to read, or no session."""
            stored = await self._read(lambda db: find(db, scope, session_id))
            if stored is None or not is_live(stored.session, self._clock()):
                raise NotFound("session", session_id)
            self._learn(scope, stored)
            ranges = wanted(stored.session)
            return await self._in_ranges(stored, ranges) if ranges else []

        now = self._clock()
        known = self._known.get((scope, session_id))
        if path == "active" and known is not None and known.session.has_branches and is_live(known.session, now):
            with suppress(Raced):
                entries = await self._in_ranges(known, wanted(known.session))
                return entries[::-1] if newest_first else entries
        names = (as_stored(session_id), *scope_names(scope))
        low = min(max(after_seq, 0), MAX_SEQ) + 1
        high = MAX_SEQ if before_seq is None else min(max(before_seq, 0), MAX_SEQ) - 1
        asked = (*names, path == "all", low, high, limit, to_ms(now))
        rows: list[Row] | None
        if newest_first and limit <= _SMALL_READ:
            rows = await self._newest.ask(asked)
            if rows is None:
                raise NotFound("session", session_id)
        else:
            name = "read_newest" if newest_first else "read_oldest"
            rows = await self._read(lambda db: db.rows(name, *asked))
        if rows:
            return _entries(rows)
        entries = await undisturbed(in_branches)
        return entries[::-1] if newest_first else entries

    async def _in_ranges(self, stored: Stored, ranges: Ranges) -> list[Message | Unreadable]:
        """Return the messages of ranges, ascending. Raises Raced if the record is another one by now."""
        columns = [list(ends) for ends in zip(*ranges, strict=True)] or [[], []]
        rows = await self._read(lambda db: db.rows("read_ranges", stored.key, stored.changed, *columns))
        if not rows:
            raise Raced
        return _entries(row for row in rows if row[0] is not None)

    async def _read_newest(self, asked: Sequence[tuple[object, ...]]) -> Sequence[list[Row] | None]:
        """Return rows for each question; None if there is no such session, which is told of several questions only."""
        if len(asked) == 1:
            return [await self._read(lambda db: db.rows("read_newest", *asked[0]))]
        columns = [list(column) for column in zip(*asked, strict=True)]
        found: dict[int, list[Row]] = {}
        for row in await self._read(lambda db: db.rows("read_newest_all", *columns)):
            found.setdefault(row[0], []).append(row[1:])
        answers = (found.get(place) for place in range(1, len(asked) + 1))
        return [[] if rows and rows[0][0] is None else rows for rows in answers]

    async def select_head(
        self,
        scope: Scope,
        session_id: str,
        seq: int,
        *,
        expected_last_seq: int | None = None,
        expected_head_seq: int | None = None,
    ) -> Session:
        check_id(session_id, "session_id")

        async def select(db: Connection) -> Session:
            stored = await writable(db, scope, session_id, self._clock())
            moved = with_head(
                stored.session, seq, expected_last_seq=expected_last_seq, expected_head_seq=expected_head_seq
            )
            return (await save(db, stored, moved)).session

        return await self._write(select)

    async def prune(self, scope: Scope, session_id: str, *, before_seq: int) -> Session:
        check_id(session_id, "session_id")

        async def prune(db: Connection) -> Stored:
            stored = await writable(db, scope, session_id, self._clock())
            return await save(db, stored, pruned(stored.session, before_seq))

        stored = await self._write(prune)
        while await self._write(lambda db: sweep_session(db, stored.key, STEP_ROWS)):
            pass
        return stored.session

    async def annotate(self, scope: Scope, session_id: str, seq: int, feedback: Feedback | None) -> Message:
        check_id(session_id, "session_id")
        check_feedback(feedback)

        async def annotate(db: Connection) -> Message:
            stored, row = await self._message(db, scope, session_id, seq)
            entry = _entry(row)
            if isinstance(entry, Unreadable):
                raise NotFound("message", seq)
            feedback_json = encode_feedback(feedback)
            if feedback_json != entry.feedback_json:
                await db.run("set_feedback", stored.key, seq, feedback_json)
                await db.run("touch_session", stored.key)
            return entry._replace(feedback_json=feedback_json)

        return await self._write(annotate)

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        check_id(session_id, "session_id")

        async def redact(db: Connection) -> Message:
            stored, row = await self._message(db, scope, session_id, seq)
            if not row[6] or row[8] != EMPTY_BODY or row[7] is not None:
                await db.run("redact_message", stored.key, seq)
                await db.run("remove_words", stored.key, seq)
                await db.run("touch_session", stored.key)
            return Message._make((*row[:6], 1, None, EMPTY_BODY, decode))

        return await self._write(redact)

    async def _message(self, db: Connection, scope: Scope, session_id: str, seq: int) -> tuple[Stored, Row]:
        """Return a message that is in the log, as it is stored, and its session, locked."""
        stored = await writable(db, scope, session_id, self._clock())
        rows: list[Row] = []
        if stored.session.first_seq <= seq <= stored.session.last_seq:
            rows = await db.rows("read_message", stored.key, seq)
        if not rows:
            raise NotFound("message", seq)
        return stored, tuple(rows[0])


async def _grow_locked(
    db: Connection, stored: Stored, grown: Session, batch: Batch, now: datetime
) -> tuple[Appended, Stored]:
    """Append to a row that is locked, where it cannot fail, and forget old keys now and then."""
    last = stored.session.last_seq
    growth = growth_of(stored, grown, batch, batch.numbered(stored.session, grown, now))
    changed = await grow(db, growth)
    if changed is None:
        raise AssertionError("the row is locked, and the key is new")
    if forgets(last, grown.last_seq):
        await db.run("forget_keys", stored.key, last + 1 - REMEMBERED_MESSAGES)
    return growth.done(changed)


async def sweep_session(db: Connection, session_key: int, most: int) -> int:
    """Remove up to `most` messages below the first seq of a session; return how many, 0 when none is left."""
    row = await db.row("find_unswept", session_key)
    if row is None:
        return 0
    removed: int = (await db.one("delete_messages", session_key, row[0], most))[0]
    if removed < most:
        await db.run("set_swept", session_key, row[0])
    return removed
