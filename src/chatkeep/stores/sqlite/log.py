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
from chatkeep.domain.paths import Ranges, clip, path_ranges
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, is_gone, pruned, to_ms, with_head
from chatkeep.ports.store import Appended
from chatkeep.stores.batches import REMEMBERED_MESSAGES, Appending, Batch, forgets, message_of, repeated
from chatkeep.stores.checks import check_feedback
from chatkeep.stores.codec import EMPTY_BODY, decode, encode_feedback, fault, is_sound
from chatkeep.stores.sqlite.connection import Database, Row
from chatkeep.stores.sqlite.engine import Engine
from chatkeep.stores.sqlite.indexing import note_messages, retitle, unindex
from chatkeep.stores.sqlite.records import (
    MAX_STORED_SEQ,
    Stored,
    message_key,
    scope_names,
    writable,
)
from chatkeep.stores.sqlite.removal import STEP_ROWS, bury, remove_messages
from chatkeep.stores.sqlite.saving import insert, save
from chatkeep.stores.sqlite.transaction import Write

_DECODE = (decode,)


def _entry(row: Row) -> Message | Unreadable:
    reason = fault(row[8])
    return message_of(row + _DECODE) if reason is None else Unreadable(row[0], reason)


def _entries(rows: list[Row]) -> list[Message | Unreadable]:
    """Return what `_entry` returns for each row, in a third less time: most rows are of sound bodies."""
    return [message_of(row + _DECODE) if is_sound(row[8]) else _entry(row) for row in rows]


def _ranges(row: Row, path: str) -> Ranges:
    """Return the seqs of the path, from a row of `find_path`."""
    _, _, _, first_seq, last_seq, head_seq, jumps_json = row
    if path == "all":
        return ((first_seq, last_seq),) if first_seq <= last_seq else ()
    if jumps_json == "[]":
        return ((first_seq, head_seq),) if first_seq <= head_seq else ()
    return path_ranges(head_seq, tuple((seq, parent) for seq, parent in json.loads(jumps_json)), first_seq)


class SqliteLog(Appending, Engine):
    """The append-only log of messages, one per session."""

    async def _add(self, scope: Scope, batch: Batch) -> Appended:
        def append(write: Write) -> Appended:
            now = self._clock()
            remembered, stored = write.appends.find(scope, batch.session_id, batch.key_hash)
            gone = stored is not None and is_gone(stored.session, now)
            before = batch.before(None if stored is None or gone else stored.session, now)
            if remembered is not None and not gone:
                return repeated(batch, before, *remembered)
            grown = batch.grown(before, now)
            if stored is None or gone:
                if stored is not None:
                    bury(write, stored)
                stored = insert(write, scope, before)
            return _grow(write, scope, stored, grown, batch, now)

        return await self._write(append)

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

        def read(db: Database) -> list[Message | Unreadable]:
            row = db.row("find_path", (session_id, *scope_names(scope)))
            if row is None or row[1] == "trashed" or (row[2] is not None and to_ms(self._clock()) >= row[2]):
                raise NotFound("session", session_id)
            ranges = clip(_ranges(row, path), after_seq=after_seq, before_seq=before_seq)
            rows: list[Row] = []
            for low, high in reversed(ranges) if newest_first else ranges:
                bounds = (message_key(row[0], low), message_key(row[0], high), limit - len(rows))
                rows += db.rows("read_backward" if newest_first else "read_forward", bounds)
                if len(rows) == limit:
                    break
            return _entries(rows)

        return await self._read(read)

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

        def select(write: Write) -> Session:
            stored = writable(write.db, scope, session_id, self._clock())
            moved = with_head(
                stored.session, seq, expected_last_seq=expected_last_seq, expected_head_seq=expected_head_seq
            )
            return save(write, stored, moved)

        return await self._write(select)

    async def prune(self, scope: Scope, session_id: str, *, before_seq: int) -> Session:
        check_id(session_id, "session_id")

        def prune(write: Write) -> tuple[int, Session]:
            stored = writable(write.db, scope, session_id, self._clock())
            return stored.key, save(write, stored, pruned(stored.session, before_seq))

        key, session = await self._write(prune)
        while await self._write(lambda write: sweep_session(write, key, STEP_ROWS)):
            pass
        return session

    async def annotate(self, scope: Scope, session_id: str, seq: int, feedback: Feedback | None) -> Message:
        check_id(session_id, "session_id")
        check_feedback(feedback)

        def annotate(write: Write) -> Message:
            stored, row = self._message(write, scope, session_id, seq)
            entry = _entry(row)
            if isinstance(entry, Unreadable):
                raise NotFound("message", seq)
            feedback_json = encode_feedback(feedback)
            if feedback_json != entry.feedback_json:
                write.db.run("set_feedback", (feedback_json, message_key(stored.key, seq)))
                write.touch(stored.scope)
            return entry._replace(feedback_json=feedback_json)

        return await self._write(annotate)

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        check_id(session_id, "session_id")

        def redact(write: Write) -> Message:
            stored, row = self._message(write, scope, session_id, seq)
            key = message_key(stored.key, seq)
            if not row[6] or row[8] != EMPTY_BODY or row[7] is not None:
                if write.search:
                    unindex(write.db, stored.scope, stored.indexed_seq, [(key, row[8])])
                write.db.run("redact_message", (key,))
                write.touch(stored.scope)
                write.wipe()
            return Message._make((*row[:6], 1, None, EMPTY_BODY, decode))

        return await self._write(redact)

    def _message(self, write: Write, scope: Scope, session_id: str, seq: int) -> tuple[Stored, Row]:
        """Return a message that is in the log, as it is stored, and its session."""
        stored = writable(write.db, scope, session_id, self._clock())
        rows: list[Row] = []
        if stored.session.first_seq <= seq <= stored.session.last_seq:
            key = message_key(stored.key, seq)
            rows = write.db.rows("read_forward", (key, key, 1))
        if not rows:
            raise NotFound("message", seq)
        return stored, rows[0]


def _grow(write: Write, scope: Scope, stored: Stored, grown: Session, batch: Batch, now: datetime) -> Appended:
    """Add the messages and the session's record after them."""
    last = stored.session.last_seq
    if grown.last_seq > MAX_STORED_SEQ:
        raise Unavailable(f"session {grown.id!r} is full; fork it")
    first_key = message_key(stored.key, last + 1)
    messages = batch.numbered(stored.session, grown, now)
    rows: list[Row] = []
    for index, (seq, parent, uid, role, status, made_us, _, _, body, _) in enumerate(messages):
        rows.append((first_key + index, None if parent == seq - 1 else parent, uid, role, status, made_us, body))
    stored = note_messages(write, retitle(write, stored, grown.title), len(rows))
    if forgets(last, grown.last_seq):
        write.appends.forget_keys(stored, last + 1 - REMEMBERED_MESSAGES)
    key = (stored.key, batch.key_hash, batch.digest_hash, last + 1, grown.last_seq)
    write.appends.add(scope, stored, grown, rows, key)
    write.touch(stored.scope)
    return Appended(last + 1, grown.last_seq, grown, repeated=False, messages=messages)


def sweep_session(write: Write, session_key: int, most: int) -> int:
    """Remove up to `most` messages below the first seq of a session; return how many, 0 when none is left."""
    row = write.db.row("find_unswept", (session_key,))
    if row is None:
        return 0
    scope, first_seq, _, indexed_seq = row
    count, last = remove_messages(write, scope, session_key, indexed_seq, first_seq - 1, most)
    write.db.run("set_swept", (last + 1, session_key))
    return count
