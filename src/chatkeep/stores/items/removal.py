"""Removal: a session's item first, then its rows, from notes in the work table that outlive a crash."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from chatkeep.domain.errors import CorruptRecord
from chatkeep.domain.messages import to_us
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.stores.items.handle import SETTLED, Handle, unchanged_incarnation
from chatkeep.stores.items.heads import Head, StoredRun, head_from, key_count, run_from
from chatkeep.stores.items.keys import (
    bucket_key,
    bucket_of,
    events_key,
    extras_key,
    run_key,
    run_of,
    session_key,
    version_key,
    work_key,
)
from chatkeep.stores.items.tables import LOG, SESSIONS, WORK, Item, Key, bytes_of, int_of, key_of, text_of, unchanged
from chatkeep.stores.races import Raced
from chatkeep.stores.records import number

GRAVE, PRUNED, SPILL, RUNNING, ENDED = b"g", b"p", b"s", b"r", b"e"
"""Kinds of notes: incarnations to remove, pruned ranges, spilled bodies, runs that are not over, runs that are."""
_STEP = 500
"""Rows that are listed before they are removed."""


@dataclass(slots=True)
class Allowance:
    """How many rows may still be removed, and how many were."""

    left: int
    removed: int = 0

    def take(self, removed: int) -> None:
        """Count rows as removed."""
        self.left -= removed
        self.removed += removed


UNLIMITED = 2**60


def ended_key(stored: StoredRun) -> Key:
    """Return the key of the note about a run that is over, in the order of their ends."""
    finished = stored.run.finished_at
    at = number(0 if finished is None else to_us(finished))
    return work_key(ENDED, stored.incarnation, stored.run.id.encode(), before=at)


def running_key(incarnation: str, run_id: str) -> Key:
    """Return the key of the note about a run that is not over."""
    return work_key(RUNNING, incarnation, run_id.encode())


class Removal(Handle):
    """How sessions and rows go."""

    async def _note(self, kind: bytes, of: Key, incarnation: str, rest: bytes, item: Item) -> Key:
        """Write a note about the session `of`, so that what follows can be brought to its end by `sweep`."""
        key = work_key(kind, incarnation, rest)
        named = {"inc": incarnation, "of_pk": of.pk, "of_sk": of.sk, "noted": self._now_ms()}
        await self._tables.put(WORK, key, {**named, **item})
        return key

    async def _bury(self, head: Head) -> Key:
        """Let a session be missing from now on, with a note of the rows to remove. Raises Raced."""
        return await self._bury_item(head.key, head.incarnation, head.version, head.session.last_seq)

    async def _bury_item(self, key: Key, incarnation: str, version: int, last_seq: int) -> Key:
        self._forget(key)
        grave = await self._note(GRAVE, key, incarnation, b"", {"last": last_seq})
        await self._tables.delete(SESSIONS, key, unchanged(version, incarnation))
        await self._tables.count(WORK, version_key(key.pk))
        return grave

    async def _purge_stored(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt | None:
        """Purge a session, gone or not, even one that cannot be decoded; None if there is none. Raises Raced."""
        key = session_key(scope, session_id)
        item = await self._tables.get(SESSIONS, key)
        if item is None or incarnation not in (None, text_of(item, "inc")):
            return None
        try:
            head = head_from(scope, item)
        except CorruptRecord:
            stored, last_seq = text_of(item, "inc"), int_of(item, "last")
            grave = await self._bury_item(key, stored, int_of(item, "ver"), last_seq)
            await self._empty_grave(grave, stored, last_seq, Allowance(UNLIMITED))
            return Receipt({"sessions": 1})
        return await self._purge(head)

    async def _purge(self, head: Head) -> Receipt:
        """Remove a session and everything of it. Raises Raced, and nothing has happened."""
        grave = await self._bury(head)
        runs = [run async for run in self._runs_of(head.scope, head.incarnation)]
        states = [item async for item in self._tables.query(LOG, extras_key(head.incarnation), low=b"s", only=("pk",))]
        session = head.session
        counts = {
            "sessions": 1,
            "messages": session.last_seq - session.first_seq + 1,
            "keys": key_count(head.keys),
            "state": len(states),
            "runs": len(runs),
            "events": sum(stored.run.last_event - stored.dropped for stored in runs),
        }
        await self._empty_grave(grave, head.incarnation, session.last_seq, Allowance(UNLIMITED))
        return Receipt({kind: count for kind, count in counts.items() if count})

    async def _runs_of(self, scope: Scope, incarnation: str) -> AsyncIterator[StoredRun]:
        async for pointer in self._tables.query(LOG, extras_key(incarnation), low=b"r"):
            run_id = bytes_of(pointer, "sk")[1:].decode()
            with suppress(CorruptRecord):  # it goes uncounted
                stored = await self._stored_run(scope, run_id)
                if stored is not None and stored.incarnation == incarnation:
                    yield stored

    async def _empty_grave(self, grave: Key, incarnation: str, last_seq: int, allowance: Allowance) -> None:
        """Remove all rows of a purged incarnation, as far as allowed; then let its note name nobody any more."""
        await self._remove_all(incarnation, last_seq, allowance)
        if allowance.left > 0:
            settling = {"inc": incarnation, "last": last_seq, "noted": self._now_ms()}
            await self._tables.put(WORK, grave, settling)

    async def _remove_all(self, incarnation: str, last_seq: int, allowance: Allowance) -> None:
        """Remove the rows and notes of an incarnation, as far as allowed."""
        await self._remove_messages(incarnation, 1, last_seq + 1, allowance)
        async for pointer in self._tables.query(LOG, extras_key(incarnation), low=b"r"):
            if allowance.left > 0:
                await self._remove_run(incarnation, bytes_of(pointer, "run"), allowance)
        await self._remove_where(extras_key(incarnation), allowance)
        for kind in (PRUNED, SPILL, RUNNING):
            start = work_key(kind, incarnation)
            notes = [key_of(note) async for note in self._tables.query(WORK, start.pk, low=start.sk, only=("pk", "sk"))]
            await self._delete_all(WORK, notes)

    async def _remove_run(self, incarnation: str, run_pk: bytes, allowance: Allowance) -> None:
        scope, run_id = run_of(run_pk)
        key = run_key(scope, run_id)
        item = await self._tables.get(LOG, key)
        if item is not None and text_of(item, "inc") == incarnation:
            with suppress(CorruptRecord):  # its note leads nowhere then, and goes when it is looked at
                await self._tables.delete(WORK, ended_key(run_from(scope, run_id, item)))
            with suppress(Raced):  # another session has taken the id in this moment; the rows below are ours even so
                allowance.take(await self._tables.delete(LOG, key, unchanged_incarnation(incarnation)))
        await self._remove_where(events_key(incarnation, run_id), allowance)

    async def _remove_where(
        self, pk: bytes, allowance: Allowance, *, low: bytes | None = None, high: bytes | None = None
    ) -> None:
        """Remove the rows of a partition, with sort keys within `low` and `high` if given, as far as allowed."""
        while allowance.left > 0:
            step = min(_STEP, allowance.left)
            keys: list[Key] = []
            async for item in self._tables.query(LOG, pk, low=low, high=high, only=("pk", "sk", "spill"), page=step):
                keys.append(key_of(item))
                if "spill" in item:
                    incarnation = pk[:26].decode()
                    keys.append(Key(extras_key(incarnation), bytes_of(item, "spill")))
                if len(keys) >= step:
                    break
            if not keys:
                return
            allowance.take(await self._delete_all(LOG, keys))

    async def _remove_messages(self, incarnation: str, first: int, end: int, allowance: Allowance) -> None:
        """Remove the rows of messages with first <= seq < end, as far as allowed."""
        if first >= end:
            return
        for bucket in range(bucket_of(first), bucket_of(end - 1) + 1):
            pk = bucket_key(incarnation, bucket)
            await self._remove_where(pk, allowance, low=number(first), high=number(end - 1))

    async def _note_prune(self, head: Head) -> Key:
        """Note that rows below a session's next `first_seq` are to be removed."""
        item = {"first": head.session.first_seq}
        return await self._note(PRUNED, head.key, head.incarnation, secrets.token_bytes(8), item)

    def _is_settled(self, note: Item) -> bool:
        """Return whether nothing sent before the note can arrive any more."""
        return self._now_ms() - int_of(note, "noted") >= SETTLED.total_seconds() * 1_000
