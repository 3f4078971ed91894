"""The unscoped side: it goes by the notes of the work table, and scans the sessions a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from chatkeep.domain.errors import CorruptRecord
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import to_us
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import is_gone, is_live
from chatkeep.stores.checks import check_moment
from chatkeep.stores.items.handle import SETTLED
from chatkeep.stores.items.heads import Head, session_from
from chatkeep.stores.items.keys import SCHEMA_KEY, SHARDS, run_of, session_key, spill_key, version_key
from chatkeep.stores.items.removal import ENDED, GRAVE, PRUNED, RUNNING, SPILL, Allowance
from chatkeep.stores.items.runs import ItemRuns
from chatkeep.stores.items.tables import (
    LOG,
    SESSIONS,
    WORK,
    Condition,
    Item,
    Key,
    UpTo,
    bytes_of,
    int_of,
    key_of,
    text_of,
)
from chatkeep.stores.races import Raced
from chatkeep.stores.records import number, scope_key, scope_of

_PAGE = 500
_PAGES_A_CALL = 4
"""Pages of sessions that one `due_sessions` looks at; the next call goes on behind them."""
_LAST_SORT_KEY = b"\xff"
"""Behind every id: no UTF-8 begins with it."""
SCHEMA_STEPS = ("tables",)
"""What led to the schema of this release, which is the last one's number."""
SCHEMA_VERSION = len(SCHEMA_STEPS)


class ItemMaintenance(ItemRuns):
    """For the janitor and the command line."""

    _due_after: Key | None = None

    async def iter_scopes(self, *, after: Scope | None = None, limit: int = 100) -> Sequence[Scope]:
        check_limit(limit, MAX_READ)
        start = None if after is None else Key(scope_key(after), _LAST_SORT_KEY)
        found: dict[bytes, Scope] = {}
        while True:
            items, start = await self._tables.scan(SESSIONS, ("pk",), page=_PAGE, after=start)
            for item in items:
                pk = bytes_of(item, "pk")
                found.setdefault(pk, scope_of(pk))
            if start is None or len(found) > limit:
                return list(found.values())[:limit]

    async def count_sessions(self, *, most: int = 10_000) -> int:
        now, start, count = self._clock(), None, 0
        while True:
            items, start = await self._tables.scan(SESSIONS, ("rec",), page=_PAGE, after=start)
            for item in items:
                with suppress(CorruptRecord):  # no list shows it either
                    session = session_from(item)
                    count += is_live(session, now) and not session.hidden
            if start is None or count >= most:
                return min(count, most)

    async def due_sessions(self, *, limit: int = 100) -> Sequence[tuple[Scope, str, str]]:
        check_limit(limit, MAX_READ)
        now = self._clock()
        due = UpTo("ends", self._now_ms())
        found: dict[Key, tuple[Scope, str, str]] = {}
        wrapped = self._due_after is None
        for _ in range(_PAGES_A_CALL):
            items, following = await self._tables.scan(
                SESSIONS, ("pk", "sk", "rec"), page=_PAGE, where=due, after=self._due_after
            )
            for item in items:
                key = key_of(item)
                with suppress(CorruptRecord):  # it hides no others from the janitor
                    session = session_from(item)
                    if is_gone(session, now):
                        found[key] = (scope_of(key.pk), session.id, session.incarnation)
                if len(found) == limit:
                    self._due_after = key
                    return list(found.values())
            self._due_after = following
            if following is None and wrapped:
                break
            wrapped = wrapped or following is None
        return list(found.values())

    async def purge_gone(self, scope: Scope, session_id: str, incarnation: str) -> Receipt:
        async def attempt() -> Receipt:
            head = await self._head(scope, session_id)
            if head is None or head.incarnation != incarnation or not is_gone(head.session, self._clock()):
                return Receipt({})
            return await self._purge(head)

        return await self._until_won(session_key(scope, session_id), attempt)

    async def expired_runs(self, *, limit: int = 100) -> Sequence[tuple[Scope, str]]:
        """Besides, bring to its end what a crash left of the end of a run."""
        check_limit(limit, MAX_READ)
        due = UpTo("chk", to_us(self._clock()))
        found: list[tuple[Scope, str]] = []
        for shard in range(SHARDS):
            async for note in self._tables.query(WORK, RUNNING + bytes((shard,)), where=due):
                scope, run_id = run_of(bytes_of(note, "run"))
                if await self._is_expired(note, scope, run_id):
                    found.append((scope, run_id))
                if len(found) == limit:
                    return found
        return found

    async def _is_expired(self, note: Item, scope: Scope, run_id: str) -> bool:
        """Return whether a noted run waits for `take_run`; keep the note in step otherwise."""
        key, now = key_of(note), self._clock()
        stored = await self._stored_run(scope, run_id)
        if stored is None or stored.incarnation != text_of(note, "inc"):
            if self._is_settled(note):
                with suppress(Raced):  # a claim of that id has begun anew
                    await self._tables.delete(WORK, key, _as_noted(note))
            return False
        if stored.run.is_over:
            await self._after_end(stored)
            return False
        if stored.run.lease_until > now:
            seen = Condition(equal={"chk": note["chk"]})
            with suppress(Raced):
                await self._tables.update(WORK, key, {"chk": to_us(stored.run.lease_until)}, seen)
            return False
        head = await self._present(scope, stored.run.session_id)
        return head is not None and head.incarnation == stored.incarnation and head.session.state != "trashed"

    async def sweep(self, *, events_before: datetime, limit: int = 1_000) -> int:
        check_moment(events_before, "events_before")
        check_limit(limit, MAX_READ)
        allowance = Allowance(limit)
        settled = UpTo("noted", self._now_ms() - int(SETTLED.total_seconds() * 1_000))
        named_or_settled = settled._replace(or_has="of_pk")
        ended = number(max(0, to_us(events_before)))
        for kind, step, where, high in (
            (GRAVE, self._sweep_grave, named_or_settled, None),
            (PRUNED, self._sweep_pruned, None, None),
            (SPILL, self._sweep_spill, settled, None),
            (ENDED, self._sweep_ended, None, ended),
        ):
            for shard in range(SHARDS):
                async for note in self._tables.query(
                    WORK, kind + bytes((shard,)), low=high and b"\0", high=high, where=where
                ):
                    if allowance.left <= 0:
                        return allowance.removed
                    # another writer came between, or one record is corrupt: the note stays, the others go on
                    with suppress(Raced, CorruptRecord):
                        await step(note, allowance)
        return allowance.removed

    async def _sweep_grave(self, note: Item, allowance: Allowance) -> None:
        incarnation, last_seq, grave = text_of(note, "inc"), int_of(note, "last"), key_of(note)
        if "of_pk" not in note:
            await self._remove_all(incarnation, last_seq, allowance)
            if allowance.left > 0:
                await self._tables.delete(WORK, grave)
            return
        owner = Key(bytes_of(note, "of_pk"), bytes_of(note, "of_sk"))
        item = await self._tables.get(SESSIONS, owner)
        if item is None or text_of(item, "inc") != incarnation:
            await self._tables.count(WORK, version_key(owner.pk))
            await self._empty_grave(grave, incarnation, last_seq, allowance)
        elif self._is_settled(note):
            await self._tables.delete(WORK, grave, _as_noted(note))

    async def _owner(self, note: Item) -> Head | None:
        """Return the head of the session that a note is about, None if it is purged."""
        scope, session_id = scope_of(bytes_of(note, "of_pk")), bytes_of(note, "of_sk").decode()
        head = await self._head(scope, session_id)
        return head if head is not None and head.incarnation == text_of(note, "inc") else None

    async def _sweep_pruned(self, note: Item, allowance: Allowance) -> None:
        head = await self._owner(note)
        if head is not None:
            first, end = int_of(note, "first"), head.session.first_seq
            await self._remove_messages(head.incarnation, first, end, allowance)
        if allowance.left > 0 and (head is None or self._is_settled(note)):
            await self._tables.delete(WORK, key_of(note))

    async def _sweep_spill(self, note: Item, allowance: Allowance) -> None:
        head = await self._owner(note)
        if head is not None:
            await self._copy(head, head.tail)
            await self._save(replace(head, tail=()))
        incarnation = text_of(note, "inc")
        attempt = bytes_of(note, "sk")[len(incarnation) :]
        spilled = [spill_key(incarnation, attempt, index) for index in range(int_of(note, "many"))]
        allowance.take(await self._delete_all(LOG, spilled))
        await self._tables.delete(WORK, key_of(note))

    async def _sweep_ended(self, note: Item, allowance: Allowance) -> None:
        stored = await self._stored_run(*run_of(bytes_of(note, "run")))
        if stored is not None and stored.incarnation == text_of(note, "inc") and stored.run.is_over:
            events = stored.run.last_event - stored.dropped
            stored = await self._dropped(stored)
            rows = Allowance(allowance.left)
            await self._remove_where(stored.partition, rows)
            allowance.take(max(rows.removed, events))
            if rows.left <= 0:
                return
        await self._tables.delete(WORK, key_of(note))

    async def schema(self) -> Mapping[str, str]:
        item = await self._tables.get(WORK, SCHEMA_KEY)
        version = "0" if item is None else str(int_of(item, "n"))
        return {"version": version, "wanted": str(SCHEMA_VERSION)}


def _as_noted(note: Item) -> Condition:
    """Return the condition that a note was not written anew."""
    return Condition(equal={"noted": note["noted"]})
