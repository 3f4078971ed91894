"""The log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from chatkeep.domain.errors import NotFound, Unavailable
from chatkeep.domain.ids import check_id
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import Feedback, Message, Unreadable
from chatkeep.domain.paths import clip, path_ranges
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, is_gone, pruned, to_ms, with_head
from chatkeep.ports.store import Appended
from chatkeep.stores.batches import REMEMBERED_MESSAGES, Appending, Batch, forgets, repeated
from chatkeep.stores.checks import MAX_SEQ, check_feedback
from chatkeep.stores.codec import EMPTY_BODY, decode, encode_feedback, fault
from chatkeep.stores.postgres.engine import Connection, Engine, Row
from chatkeep.stores.postgres.records import (
    Stored,
    bury,
    find,
    insert,
    save,
    scope_names,
    values_of,
    writable,
)
from chatkeep.stores.postgres.removal import STEP_ROWS
from chatkeep.stores.postgres.texts import stored as as_stored

_PATH_COLUMNS = 7
_GROWN = (
    "title", "title_source", "state", "pinned_at_ms", "modified_at_ms", "idle_ttl_ms", "expires_at_ms", "last_seq",
    "head_seq", "jumps_json", "revision", "hidden",
)  # fmt: skip
_GROWN_AT = tuple(Session._fields.index(name) for name in _GROWN)


def _entry(row: Row) -> Message | Unreadable:
    reason = fault(row[8])
    return Message._make((*row, decode)) if reason is None else Unreadable(row[0], reason)


class PostgresLog(Appending, Engine):
    """The append-only log of messages, one per session."""

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
        done = await self._read(lambda db: _grow(db, known, grown, batch, now))
        if done is None:
            return None
        self._remember(scope, done[1])
        return done[0]

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
        names = (as_stored(session_id), *scope_names(scope))
        low = min(max(after_seq, 0), MAX_SEQ) + 1
        high = MAX_SEQ if before_seq is None else min(max(before_seq, 0), MAX_SEQ) - 1
        name = "read_newest" if newest_first else "read_oldest"
        rows = await self._read(lambda db: db.rows(name, *names, path == "all", low, high, limit))
        self._check_there(session_id, rows)
        if path == "all" or rows[0][6] == "[]":
            return [_entry(tuple(row)[_PATH_COLUMNS:]) for row in rows if row[_PATH_COLUMNS] is not None]

        async def read(db: Connection) -> list[Message | Unreadable]:
            rows = await db.rows(name, *names, False, 1, 0, 1)  # noqa: FBT003 -- the parameter of a statement
            self._check_there(session_id, rows)
            key, _, _, first_seq, _, head_seq, jumps_json = tuple(rows[0])[:_PATH_COLUMNS]
            jumps = tuple((seq, parent) for seq, parent in json.loads(jumps_json))
            ranges = clip(path_ranges(head_seq, jumps, first_seq), after_seq=after_seq, before_seq=before_seq)
            found: list[Row] = []
            for begin, end in reversed(ranges) if newest_first else ranges:
                one_way = "read_backward" if newest_first else "read_forward"
                found += await db.rows(one_way, key, begin, end, limit - len(found))
                if len(found) == limit:
                    break
            return [_entry(tuple(row)) for row in found]

        return await self._look(read)

    def _check_there(self, session_id: str, rows: list[Row]) -> None:
        """Raise NotFound unless the rows are those of a live session."""
        if not rows or rows[0][1] == "trashed" or (rows[0][2] is not None and to_ms(self._clock()) >= rows[0][2]):
            raise NotFound("session", session_id)

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
            rows = await db.rows("read_forward", stored.key, seq, seq, 1)
        if not rows:
            raise NotFound("message", seq)
        return stored, tuple(rows[0])


async def _grow(
    db: Connection, stored: Stored, grown: Session, batch: Batch, now: datetime
) -> tuple[Appended, Stored] | None:
    """Add the messages and write the record after them; None, and nothing is done, if the record is another one, or
    the key is remembered.
    """
    last = stored.session.last_seq
    if grown.last_seq > MAX_SEQ:
        raise Unavailable(f"session {grown.id!r} is full; fork it")
    messages = batch.numbered(stored.session, grown, now)
    rows = [
        (seq, None if parent == seq - 1 else parent, uid, role, status, made_us, body)
        for seq, parent, uid, role, status, made_us, _, _, body, _ in messages
    ]
    values = values_of(grown)
    row = await db.row(
        "append",
        stored.key,
        stored.changed,
        batch.key_hash,
        batch.digest_hash,
        *(values[at] for at in _GROWN_AT),
        *(list(column) for column in zip(*rows, strict=True)),
        last + 1,
    )
    if row is None:
        return None
    after = stored._replace(changed=row[0], session=grown)
    return Appended(last + 1, grown.last_seq, grown, repeated=False, messages=messages), after


async def _grow_locked(
    db: Connection, stored: Stored, grown: Session, batch: Batch, now: datetime
) -> tuple[Appended, Stored]:
    """Do the same with the row locked, where it cannot fail, and forget old keys now and then."""
    last = stored.session.last_seq
    done = await _grow(db, stored, grown, batch, now)
    if done is None:
        raise AssertionError("the row is locked, and the key is new")
    if forgets(last, grown.last_seq):
        await db.run("forget_keys", stored.key, last + 1 - REMEMBERED_MESSAGES)
    return done


async def sweep_session(db: Connection, session_key: int, most: int) -> int:
    """Remove up to `most` messages below the first seq of a session; return how many, 0 when none is left."""
    row = await db.row("find_unswept", session_key)
    if row is None:
        return 0
    removed: int = (await db.one("delete_messages", session_key, row[0], most))[0]
    if removed < most:
        await db.run("set_swept", session_key, row[0])
    return removed
