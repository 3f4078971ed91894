"""The log: a stream for each session, and beside it what was changed of its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

from chatkeep.domain.errors import NotFound, Unavailable
from chatkeep.domain.ids import check_id
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import Feedback, Message, Unreadable
from chatkeep.domain.paths import clip, ends_of
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, is_gone, is_live, pruned, with_head
from chatkeep.ports.store import Appended
from chatkeep.stores.batches import REMEMBERED_MESSAGES, Appending, Batch, forgets, repeated
from chatkeep.stores.checks import MAX_SEQ, check_feedback
from chatkeep.stores.codec import encode_feedback
from chatkeep.stores.races import Raced
from chatkeep.stores.records import number, session_from_json
from chatkeep.stores.redis.client import pairs
from chatkeep.stores.redis.engine import PRUNED, Change, Engine, Stored
from chatkeep.stores.redis.names import ScopeNames
from chatkeep.stores.redis.records import (
    entries_from,
    entry_from,
    put,
    readable,
    redacted_row,
    remove,
    row_of,
    touch,
    writable,
)

_HASH_BYTES = 16
_TRIM_STEP = 1_000


class RedisLog(Appending, Engine):
    """The append-only log of messages, one per session."""

    async def _add(self, scope: Scope, batch: Batch) -> Appended:
        names = self._of(scope)

        async def attempt() -> Appended:
            now = self._clock()
            known = self._forget(scope, batch.session_id)
            if known is not None:
                grown = batch.grown_from(known.session, now)
                if grown is not None:
                    return await self._append(names, known, known.session, grown, batch, now)
            stored = await self._find(names, batch.session_id)
            old = None if stored is None or is_gone(stored.session, now) else stored
            before = batch.before(None if old is None else old.session, now)
            if old is not None:
                entry = await self._ask("HGET", names.keys(batch.session_id), batch.key_hash)
                if entry is not None:
                    return await self._repeated(names, old, batch, entry)
            grown = batch.grown(before, now)
            if old is None:
                await self._note_scope(scope)
            return await self._append(names, old, before, grown, batch, now, gone=None if old else stored)

        return await self._until_won(attempt)

    async def _repeated(self, names: ScopeNames, stored: Stored, batch: Batch, entry: bytes) -> Appended:
        first_seq = int.from_bytes(entry[_HASH_BYTES:-1], "big")
        last_seq = first_seq + entry[-1] - 1
        first = repeated(batch, stored.session, entry[:_HASH_BYTES], first_seq, last_seq)
        await self._confirm(names, stored)
        return first

    async def _append(
        self,
        names: ScopeNames,
        old: Stored | None,
        before: Session,
        grown: Session,
        batch: Batch,
        now: datetime,
        *,
        gone: Stored | None = None,
    ) -> Appended:
        """Add the messages behind the record `before`, which is stored (`old`) or new. Raises Raced."""
        if grown.last_seq > MAX_SEQ:
            raise Unavailable(f"session {grown.id!r} is full; fork it")
        change = Change()
        grave = None if gone is None else await self._grave(names, grown.id, gone.mark)
        if grave is not None:
            remove(change, names, grave)
        else:
            change.require(names.keys(grown.id), batch.key_hash, b"")
        stored = put(change, names, old, grown, instead_of=grave)
        numbered = batch.numbered(before, grown, now)
        stream = names.messages(grown.id)
        for message in numbered:
            change.do("XADD", stream, f"{message.seq}-0", "m", row_of(message))
        first_seq = before.last_seq + 1
        entry = batch.digest_hash + number(first_seq) + bytes((len(numbered),))
        change.do("HSET", names.keys(grown.id), batch.key_hash, entry)
        await self._commit(change)
        self._remember(names.scope, stored)
        if forgets(before.last_seq, grown.last_seq):
            await self._forget_keys(names, grown.id, first_seq - REMEMBERED_MESSAGES)
        return Appended(first_seq, grown.last_seq, grown, repeated=False, messages=numbered)

    async def _forget_keys(self, names: ScopeNames, session_id: str, before_seq: int) -> None:
        """Forget the keys of messages that lie so far back; repeated by a later append if this one dies here."""
        key = names.keys(session_id)
        found = await self._ask("HGETALL", key) if before_seq > 0 else {}
        old = [name for name, entry in pairs(found) if int.from_bytes(entry[_HASH_BYTES:-1], "big") < before_seq]
        for at in range(0, len(old), _TRIM_STEP):
            await self._ask("HDEL", key, *old[at : at + _TRIM_STEP])

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
        names = self._of(scope)
        keys = [names.session(session_id), names.messages(session_id), names.overlay(session_id)]
        low = min(max(after_seq, 0), MAX_SEQ) + 1
        high = MAX_SEQ if before_seq is None else min(max(before_seq, 0), MAX_SEQ) - 1
        asked = [low, high, limit, int(newest_first), int(path == "all")]

        async def in_branches(stored: Stored) -> list[Message | Unreadable]:
            clipped = clip(stored.session.path, after_seq=low - 1, before_seq=high + 1)
            ends = [seq for pair in ends_of(clipped, limit, newest_first=newest_first) for seq in pair]
            parts = await self._function("ranges", keys, [stored.mark, *ends])
            if parts is None:
                raise Raced
            return [entry for part in parts for entry in _entries(part)]

        async def attempt() -> list[Message | Unreadable]:
            now = self._clock()
            known = self._known.get((scope, session_id))
            if path == "active" and known is not None and known.session.has_branches and is_live(known.session, now):
                with suppress(Raced):
                    return await in_branches(known)
            found = None
            if (scope, session_id) not in self._overlaid:
                found = await self._simply(scope, session_id, asked)
            if found is None:
                found = await self._function("read", keys, [*asked, b"" if known is None else known.mark])
            if found is None:
                raise NotFound("session", session_id)
            record, mark, *messages = found
            stored = known if known is not None and mark == known.mark else Stored(session_from_json(record), mark)
            readable(stored, session_id, now)
            if stored is not known and self._known.get((scope, session_id)) is known:
                self._remember(scope, stored)  # an append that follows need not look
            return _entries(messages[0]) if messages else await in_branches(stored)

        entries = await self._until_won(attempt)
        return entries[::-1] if newest_first else entries

    async def _simply(self, scope: Scope, session_id: str, asked: Sequence[int]) -> list[Any] | None:
        """Return what the function `read` does, in a fifth of the server's time: nothing is made into values of Lua and
        back. None if there is more to it than rows one behind the other. Raises NotFound.
        """
        names = self._of(scope)
        low, high, limit, newest_first, all_branches = asked
        bounds = ("XREVRANGE", high, low) if newest_first else ("XRANGE", low, high)
        found = await self._at_once(
            ("HMGET", names.session(session_id), "rec", "v", "first", "last", "head", "jumps"),
            (bounds[0], names.messages(session_id), *bounds[1:], "COUNT", limit),
            ("EXISTS", names.overlay(session_id)),
        )
        if found is None:
            return None
        (record, mark, first, last, head, jumps), rows, overlaid = found
        if overlaid:
            self._note_overlay(scope, session_id)
        if record is None:
            raise NotFound("session", session_id)
        if overlaid:
            return None
        if not all_branches and (jumps != b"[]" or head != last):
            return [record, mark]
        low, high = max(low, int(first)), min(high, int(last))
        if newest_first:
            low = max(low, high - limit + 1)
        else:
            high = min(high, low + limit - 1)
        if high < low:
            return [record, mark, []]
        rows = rows[: high - low + 1]
        if newest_first:
            rows.reverse()
        whole = len(rows) == high - low + 1 and rows[0][0] == b"%d-0" % low and rows[-1][0] == b"%d-0" % high
        return [record, mark, [low, high, rows, []]] if whole else None

    async def select_head(
        self,
        scope: Scope,
        session_id: str,
        seq: int,
        *,
        expected_last_seq: int | None = None,
        expected_head_seq: int | None = None,
    ) -> Session:
        def select(session: Session) -> Session:
            return with_head(session, seq, expected_last_seq=expected_last_seq, expected_head_seq=expected_head_seq)

        return await self._changed(scope, session_id, select)

    async def _changed(self, scope: Scope, session_id: str, change: Callable[[Session], Session]) -> Session:
        """Apply a pure change to the record of a live session and return the result."""
        names = self._of(scope)

        async def attempt() -> Session:
            stored = writable(await self._find(names, session_id), session_id, self._clock())
            return (await self._save(names, stored, change(stored.session))).session

        return await self._until_won(attempt)

    async def _save(self, names: ScopeNames, stored: Stored, session: Session) -> Stored:
        """Write what follows from a record that was read, and return it. Raises Raced."""
        if session == stored.session:
            await self._confirm(names, stored)
            return stored
        change = Change()
        saved = put(change, names, stored, session)
        self._forget(names.scope, session.id)
        await self._commit(change)
        self._remember(names.scope, saved)
        return saved

    async def prune(self, scope: Scope, session_id: str, *, before_seq: int) -> Session:
        names = self._of(scope)

        async def attempt() -> Session:
            stored = writable(await self._find(names, session_id), session_id, self._clock())
            session = pruned(stored.session, before_seq)
            if session != stored.session:
                await self._note_work(PRUNED, names, session_id, self._now_ms())
            return (await self._save(names, stored, session)).session

        session = await self._until_won(attempt)
        while await self._trim(names, session, _TRIM_STEP):
            pass
        return session

    async def _trim(self, names: ScopeNames, session: Session, most: int) -> int:
        """Remove up to about `most` messages below the first seq of a session, with what was changed of them."""
        stream, overlay = names.messages(session.id), names.overlay(session.id)
        oldest, changed = await self._ask_all([("XRANGE", stream, "-", "+", "COUNT", 1), ("HKEYS", overlay)])
        gone = [name for name in changed if int(name[1:]) < session.first_seq][:most]
        removed = 0
        begin = int(oldest[0][0].partition(b"-")[0]) if oldest else session.first_seq
        end = min(session.first_seq, begin + most)
        if begin < end:
            removed = await self._ask("XTRIM", stream, "MINID", end)
        if gone:
            removed += await self._ask("HDEL", overlay, *gone)
        return int(removed)

    async def annotate(self, scope: Scope, session_id: str, seq: int, feedback: Feedback | None) -> Message:
        check_feedback(feedback)
        text = encode_feedback(feedback)

        def annotated(change: Change, names: ScopeNames, message: Message | Unreadable, _: bytes | None) -> Message:
            if isinstance(message, Unreadable):
                raise NotFound("message", seq)
            if text is None:
                change.do("HDEL", names.overlay(session_id), f"f{seq}")
            else:
                change.do("HSET", names.overlay(session_id), f"f{seq}", text)
            return message._replace(feedback_json=text)

        return await self._rewritten(scope, session_id, seq, annotated)

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        def redacted(change: Change, names: ScopeNames, _: Message | Unreadable, row: bytes | None) -> Message:
            left, message = redacted_row(seq, row)
            change.do("HSET", names.overlay(session_id), f"r{seq}", left)
            change.do("HDEL", names.overlay(session_id), f"f{seq}")
            change.do("XDEL", names.messages(session_id), f"{seq}-0")
            return message

        return await self._rewritten(scope, session_id, seq, redacted)

    async def _rewritten(
        self,
        scope: Scope,
        session_id: str,
        seq: int,
        rewrite: Callable[[Change, ScopeNames, Message | Unreadable, bytes | None], Message],
    ) -> Message:
        """Change what is shown of a message that is in the log, and return it."""
        names = self._of(scope)
        keys = [names.session(session_id), names.messages(session_id), names.overlay(session_id)]

        async def attempt() -> Message:
            stored = writable(await self._find(names, session_id), session_id, self._clock())
            if not stored.session.first_seq <= seq <= stored.session.last_seq:
                raise NotFound("message", seq)
            parts = await self._function("ranges", keys, [stored.mark, seq, seq])
            if parts is None:
                raise Raced
            ((_, row, redacted, feedback),) = _rows(parts[0])
            change = Change()
            message = rewrite(change, names, entry_from(seq, row, redacted=redacted, feedback=feedback), row)
            change.require(keys[0], "inc", stored.session.incarnation.encode())
            change.require(keys[0], "first", str(stored.session.first_seq).encode())
            change.require(keys[0], "state", stored.session.state.encode())
            change.require(keys[2], f"r{seq}", row if redacted and row is not None else b"")
            touch(change, names)
            await self._commit(change)
            return message

        return await self._until_won(attempt)


def _rows(part: list[Any]) -> Iterator[tuple[int, bytes | None, bool, bytes | None]]:
    """Yield, for each seq of a range that was read: seq, row, whether it is redacted, feedback."""
    low, high, entries, overlay = part
    rows = {int(entry[: entry.index(b"-")]): fields[1] for entry, fields in entries}
    if not overlay:
        for seq in range(low, high + 1):
            yield seq, rows.get(seq), False, None
        return
    for seq in range(low, high + 1):
        redacted, feedback = overlay[2 * (seq - low)], overlay[2 * (seq - low) + 1]
        yield seq, redacted or rows.get(seq), redacted is not None, feedback


def _entries(part: list[Any]) -> list[Message | Unreadable]:
    if not part:
        return []
    low, high, entries, overlay = part
    if not overlay and len(entries) == high - low + 1:
        return entries_from(low, (row for _, (_, row) in entries))
    return [entry_from(seq, row, redacted=redacted, feedback=feedback) for seq, row, redacted, feedback in _rows(part)]
