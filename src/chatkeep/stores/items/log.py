"""The log: rows are committed inside the session's item and copied to their place beside the next commit."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Literal

from chatkeep.domain.errors import NotFound, StoreError
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import Feedback, Message, Unreadable
from chatkeep.domain.paths import clip, ends_of
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, is_gone, pruned, with_head
from chatkeep.ports.store import Appended
from chatkeep.stores.batches import Appending, Batch, repeated
from chatkeep.stores.checks import check_feedback
from chatkeep.stores.codec import EMPTY_BODY, encode_feedback
from chatkeep.stores.items.handle import LIGHT_TAIL_BYTES, TAIL_BYTES, size_of
from chatkeep.stores.items.heads import Head, Row, entry_from, find_key, message_from, message_item, with_key
from chatkeep.stores.items.keys import bucket_key, bucket_of, extras_key, session_key, spill_key
from chatkeep.stores.items.removal import SPILL, Allowance
from chatkeep.stores.items.sessions import ItemSessions
from chatkeep.stores.items.tables import LOG, PRESENT, Item, Key, both, bytes_of, int_of, persistently, together
from chatkeep.stores.races import Raced
from chatkeep.stores.records import number

_NEAR = 50
"""Rows that are closer together are read with one query."""
_PRUNED_AT_ONCE = 2_000
"""Rows that a prune removes itself; the others are left to `sweep`."""

_Rows = dict[int, Item | None]
"""What was found in the log, by seq; None: no row."""


class ItemLog(Appending, ItemSessions):
    """The append-only log of messages, one per session."""

    async def _add(self, scope: Scope, batch: Batch) -> Appended:
        key = session_key(scope, batch.session_id)

        async def attempt() -> Appended:
            now = self._clock()
            known = self._forget(key)
            if known is not None and find_key(known.keys, batch.key_hash) is None:
                grown = batch.grown_from(known.session, now)
                if grown is not None:
                    return await self._append(known, grown, batch, now)
            stored = await self._head(scope, batch.session_id)
            gone = stored if stored is not None and is_gone(stored.session, now) else None
            old = None if gone else stored
            before = batch.before(None if old is None else old.session, now)
            head = Head(scope, before) if old is None else old
            first = find_key(head.keys, batch.key_hash)
            if first is not None:
                return repeated(batch, before, *first)
            grown = batch.grown(before, now)
            if gone is not None:
                await self._bury(gone)
            return await self._append(head, grown, batch, now)

        return await self._until_won(key, attempt)

    async def _append(self, head: Head, session: Session, batch: Batch, now: datetime) -> Appended:
        """Commit an append to a head that was read (or is new) and copy what the appends before it left."""
        first_seq = head.session.last_seq + 1
        messages = batch.numbered(head.session, session, now)
        rows = tuple(Row(message.seq, message_item(message)) for message in messages)
        before = self._uncopied(head)
        if size_of(before) + size_of(rows) > TAIL_BYTES:
            await self._copy(head, before)
            before = ()
        named = rows
        if size_of(rows) > TAIL_BYTES:
            if not head.version:
                head = await self._save(head)
            rows, named = await self._spilled(head, rows)
        keys = with_key(head.keys, batch, first_seq, session.last_seq)
        saved = await self._commit(
            before, head, self._save(replace(head, session=session, keys=keys, tail=(*before, *named)))
        )
        if named is not rows or size_of(saved.tail) > LIGHT_TAIL_BYTES:
            await self._lighten(saved, rows)
        return Appended(first_seq, session.last_seq, session, repeated=False, messages=messages)

    async def _lighten(self, head: Head, rows: Sequence[Row]) -> None:
        """Copy the rows that an append has just committed and take them out of the head again, which is read with every
        look at the session and written with every change of it. What fails here, the next append does.
        """
        if any(row.n < rows[0].n for row in self._uncopied(head)):
            return
        with suppress(StoreError, Raced):
            await self._copy(head, rows)
            await self._save(replace(head, tail=()))

    async def _spilled(self, head: Head, rows: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
        """Write bodies that are too many for one item beside it; return the rows with the names of these, and the same
        without the bodies.

        The note comes first, and `sweep` puts the head anew before it removes bodies that no tail names. So an append
        that read the head before, and would name them now, is overtaken, and spills again.
        """
        attempt = secrets.token_bytes(16)
        await self._note(SPILL, head.key, head.incarnation, attempt, {"many": len(rows)})
        keys = [spill_key(head.incarnation, attempt, index) for index in range(len(rows))]
        full = tuple(Row(row.n, {**row.item, "spill": key.sk}) for key, row in zip(keys, rows, strict=True))

        async def spill(key: Key, row: Row) -> None:
            await self._tables.put(LOG, key, {"body": row.item["body"]})

        await persistently(partial(spill, key, row) for key, row in zip(keys, rows, strict=True))
        named = (Row(row.n, {name: value for name, value in row.item.items() if name != "body"}) for row in full)
        return full, tuple(named)

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

        def wanted_of(session: Session) -> Sequence[int]:
            ranges = session.path if path == "active" else ((session.first_seq, session.last_seq),)
            ends = ends_of(clip(ranges, after_seq=after_seq, before_seq=before_seq), limit, newest_first=newest_first)
            return [seq for low, high in ends for seq in range(low, high + 1)]

        async def attempt() -> Sequence[Message | Unreadable]:
            head, early = await self._with_rows(scope, session_id, wanted_of)
            seqs = wanted_of(head.session)
            rows = await self._rows(head, seqs, early)
            if any(seq not in rows for seq in seqs):
                again = await self._live(scope, session_id)
                if again.incarnation != head.incarnation or again.session.first_seq != head.session.first_seq:
                    raise Raced
            entries = [entry_from(seq, rows.get(seq)) for seq in seqs]
            return entries[::-1] if newest_first else entries

        return await self._undisturbed(attempt)

    async def _with_rows(
        self, scope: Scope, session_id: str, wanted_of: Callable[[Session], Sequence[int]]
    ) -> tuple[Head, _Rows]:
        """Return the head of a session for reading, and rows that were looked for at the same time: those that are
        wanted unless somebody has written since this handle has seen the session.
        """
        known = self._known.get(session_key(scope, session_id))
        if known is None:
            head, early = await self._live(scope, session_id), _Rows()
        else:
            looking = self._logged(known.incarnation, wanted_of(known.session))
            head, early = await both(self._live(scope, session_id), looking)
            if head.incarnation != known.incarnation:
                early = {}
        self._remember(head)
        return head, early

    async def _logged(self, incarnation: str, seqs: Sequence[int]) -> _Rows:
        """Look for rows in the log."""
        found: _Rows = dict.fromkeys(seqs)

        async def fetch(low: int, high: int) -> None:
            pk = bucket_key(incarnation, bucket_of(low))
            async for item in self._tables.query(LOG, pk, low=number(low), high=number(high)):
                if int_of(item, "n") in found:
                    found[int_of(item, "n")] = item

        await together(partial(fetch, low, high) for low, high in _stretches(seqs))
        return found

    async def _rows(self, head: Head, seqs: Sequence[int], early: _Rows) -> dict[int, Item]:
        """Return committed rows by seq: those of the log, else those of the tail."""
        waiting = {row.n: row.item for row in head.tail}
        unknown = [seq for seq in seqs if early.get(seq) is None and not (seq in early and seq in waiting)]
        logged = early | await self._logged(head.incarnation, unknown)
        found: dict[int, Item] = {}
        for seq in seqs:
            item = logged[seq] or waiting.get(seq)
            if item is not None and "body" not in item:
                item = await self._row(head, seq)
            if item is not None:
                found[seq] = item
        return found

    async def _row(self, head: Head, seq: int) -> Item | None:
        """Return the log's own row of a message, copied there if it was not yet."""
        key = head.row_key(seq)
        item = await self._tables.get(LOG, key)
        waiting = [row for row in head.tail if row.n == seq]
        if item is None and waiting:
            await self._copy(head, waiting)
            item = await self._tables.get(LOG, key)
        return item

    async def select_head(
        self,
        scope: Scope,
        session_id: str,
        seq: int,
        *,
        expected_last_seq: int | None = None,
        expected_head_seq: int | None = None,
    ) -> Session:
        return await self._change(
            scope,
            session_id,
            lambda session: with_head(
                session, seq, expected_last_seq=expected_last_seq, expected_head_seq=expected_head_seq
            ),
        )

    async def prune(self, scope: Scope, session_id: str, *, before_seq: int) -> Session:
        async def attempt() -> tuple[Head, Session]:
            head = await self._writable(scope, session_id)
            session = pruned(head.session, before_seq)
            if session != head.session:
                await self._note_prune(head)
                tail = tuple(row for row in head.tail if row.n >= session.first_seq)
                await self._save(replace(head, session=session, tail=tail))
            return head, session

        head, session = await self._until_won(session_key(scope, session_id), attempt)
        allowance = Allowance(_PRUNED_AT_ONCE)
        await self._remove_messages(head.incarnation, head.session.first_seq, session.first_seq, allowance)
        return session

    async def annotate(self, scope: Scope, session_id: str, seq: int, feedback: Feedback | None) -> Message:
        check_feedback(feedback)
        head = await self._writable(scope, session_id)
        item = await self._row(head, seq) if _holds(head.session, seq) else None
        if item is None or isinstance(entry_from(seq, item), Unreadable):
            raise NotFound("message", seq)
        text = encode_feedback(feedback)
        return await self._rewrite(head, seq, {"fb": text})

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        async def attempt() -> tuple[Head, Item]:
            head = await self._writable(scope, session_id)
            item = await self._row(head, seq) if _holds(head.session, seq) else None
            if item is None:
                raise NotFound("message", seq)
            if any(row.n == seq for row in head.tail):
                await self._copy(head, self._uncopied(head))
                head = await self._save(replace(head, tail=()))
            return head, item

        head, item = await self._until_won(session_key(scope, session_id), attempt)
        if "spill" in item:
            await self._tables.delete(LOG, Key(extras_key(head.incarnation), bytes_of(item, "spill")))
        return await self._rewrite(head, seq, {"body": EMPTY_BODY, "gone": True, "fb": None})

    async def _rewrite(self, head: Head, seq: int, changes: Item) -> Message:
        """Change the log's own row of a message, which is there, and return it."""
        try:
            row = await self._tables.update(LOG, head.row_key(seq), changes, PRESENT)
        except Raced as error:  # pruned or purged in this moment
            raise NotFound("message", seq) from error
        await self._touch(head)
        return message_from(row)


def _holds(session: Session, seq: int) -> bool:
    return session.first_seq <= seq <= session.last_seq


def _stretches(seqs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the ranges to query for ascending seqs: near ones together, each within one partition."""
    low = high = 0
    for seq in seqs:
        if low and seq - high <= _NEAR and bucket_of(seq) == bucket_of(low):
            high = seq
            continue
        if low:
            yield low, high
        low = high = seq
    if low:
        yield low, high
