"""The log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from chatkeep.domain.errors import NotFound
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import Feedback, Message, Unreadable
from chatkeep.domain.paths import clip
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, pruned, with_head
from chatkeep.ports.store import REMEMBERED_KEYS, Appended
from chatkeep.stores.batches import Appending, Batch, repeated
from chatkeep.stores.checks import check_feedback
from chatkeep.stores.codec import EMPTY_BODY, decode, encode_feedback, fault
from chatkeep.stores.memory.sessions import MemorySessions
from chatkeep.stores.memory.tables import Key, Row, Shelf

_KEPT_KEYS = 2 * REMEMBERED_KEYS


def _entry(seq: int, row: Row) -> Message | Unreadable:
    reason = fault(row.body)
    return _message(seq, row) if reason is None else Unreadable(seq, reason)


def _row(message: Message) -> Row:
    return Row(
        message.parent_seq,
        message.uid,
        message.role,
        message.status,
        message.created_at_us,
        redacted=False,
        feedback_json=None,
        body=message.body,
    )


def _message(seq: int, row: Row) -> Message:
    return Message(
        seq,
        row.parent_seq,
        row.uid,
        row.role,
        row.status,
        row.created_at_us,
        int(row.redacted),
        row.feedback_json,
        row.body,
        decode,
    )


class MemoryLog(Appending, MemorySessions):
    """The append-only log of messages, one per session."""

    async def _add(self, scope: Scope, batch: Batch) -> Appended:
        now = self._clock()
        stored = self._present(scope, batch.session_id)
        before = batch.before(None if stored is None else stored.record, now)
        shelf = self._new_shelf(before) if stored is None else stored
        known = shelf.keys.get(batch.key_hash)
        if known is not None:
            return repeated(batch, before, *known)
        grown = batch.grown(before, now)
        said = batch.numbered(before, grown, now)
        rows = {message.seq: _row(message) for message in said}
        self._charge(shelf, sum(row.size for row in rows.values()))
        self._shelve(scope, shelf)
        shelf.rows.update(rows)
        first_seq = before.last_seq + 1
        shelf.keys[batch.key_hash] = Key(batch.digest_hash, first_seq, grown.last_seq)
        if len(shelf.keys) > _KEPT_KEYS:
            del shelf.keys[next(iter(shelf.keys))]
        return Appended(first_seq, grown.last_seq, self._put(scope, shelf, grown), repeated=False, messages=said)

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
        check_limit(limit, MAX_READ)
        shelf = self._live(scope, session_id)
        record = shelf.record
        ranges = record.path if path == "active" else ((record.first_seq, record.last_seq),)
        seqs = [
            seq
            for low, high in clip(ranges, after_seq=after_seq, before_seq=before_seq)
            for seq in range(low, high + 1)
        ]
        wanted = seqs[: -limit - 1 : -1] if newest_first else seqs[:limit]
        return [_entry(seq, shelf.rows[seq]) for seq in wanted]

    async def select_head(
        self,
        scope: Scope,
        session_id: str,
        seq: int,
        *,
        expected_last_seq: int | None = None,
        expected_head_seq: int | None = None,
    ) -> Session:
        shelf = self._writable(scope, session_id)
        moved = with_head(shelf.record, seq, expected_last_seq=expected_last_seq, expected_head_seq=expected_head_seq)
        return self._put(scope, shelf, moved)

    async def prune(self, scope: Scope, session_id: str, *, before_seq: int) -> Session:
        shelf = self._writable(scope, session_id)
        shorter = pruned(shelf.record, before_seq)
        for seq in range(shelf.record.first_seq, shorter.first_seq):
            self._charge(shelf, -shelf.rows.pop(seq).size)
        return self._put(scope, shelf, shorter)

    async def annotate(self, scope: Scope, session_id: str, seq: int, feedback: Feedback | None) -> Message:
        check_feedback(feedback)
        shelf = self._writable(scope, session_id)
        row = shelf.rows.get(seq)
        if row is None or fault(row.body) is not None:
            raise NotFound("message", seq)
        return self._replace(scope, shelf, seq, row._replace(feedback_json=encode_feedback(feedback)))

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        shelf = self._writable(scope, session_id)
        row = shelf.rows.get(seq)
        if row is None:
            raise NotFound("message", seq)
        return self._replace(scope, shelf, seq, row._replace(redacted=True, feedback_json=None, body=EMPTY_BODY))

    def _replace(self, scope: Scope, shelf: Shelf, seq: int, row: Row) -> Message:
        self._charge(shelf, row.size - shelf.rows[seq].size)
        if row != shelf.rows[seq]:
            shelf.rows[seq] = row
            self._touch(scope)
        return _message(seq, row)
