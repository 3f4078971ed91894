"""The unscoped side: it goes by the names of scopes and by the notes of what is to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from chatkeep.domain.errors import CorruptRecord
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import to_us
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import is_gone
from chatkeep.stores.checks import check_moment
from chatkeep.stores.races import Raced
from chatkeep.stores.records import STATE_LETTERS, scope_and_rest, scope_key, scope_of
from chatkeep.stores.redis.engine import ENDED, PRUNED, RUNNING, SETTLED_MS, Change
from chatkeep.stores.redis.errors import translated
from chatkeep.stores.redis.names import SHARDS, ScopeNames
from chatkeep.stores.redis.runs import RedisRuns
from chatkeep.stores.redis.sessions import RedisSessions

SCHEMA_STEPS = ("keys",)
SCHEMA_VERSION = len(SCHEMA_STEPS)
_PAGE = 500
_SCOPES_A_CALL = 2_000
"""About as many scopes does one `due_sessions` look at; the next call goes on behind them."""
_LETTERS = tuple(STATE_LETTERS.items())


class RedisMaintenance(RedisSessions, RedisRuns):
    """For the janitor and the command line."""

    _due_after: Scope | None = None
    _empty_after: Scope | None = None

    async def iter_scopes(self, *, after: Scope | None = None, limit: int = 100) -> Sequence[Scope]:
        check_limit(limit, MAX_READ)
        found: list[Scope] = []
        async for page in self._noted_scopes(after):
            sizes = await self._ask_all([("ZCARD", names.ids) for names in page])
            found += [names.scope for names, size in zip(page, sizes, strict=True) if size]
            if len(found) >= limit:
                break
        return found[:limit]

    async def _noted_scopes(self, after: Scope | None) -> AsyncIterator[list[ScopeNames]]:
        """Yield the scopes that were noted, behind `after`, some at a time; they may be empty."""
        shard, begin = 0, b"-"
        if after is not None:
            shard, begin = self._of(after).shard, b"(" + scope_key(after)
        while shard < SHARDS:
            key, _ = self._names.scopes(shard)
            page = await self._ask("ZRANGE", key, begin, "+", "BYLEX", "LIMIT", 0, _PAGE)
            if page:
                yield [ScopeNames(self._names.prefix, scope_of(name)) for name in page]
            if len(page) == _PAGE:
                begin = b"(" + page[-1]
            else:
                shard, begin = shard + 1, b"-"

    async def count_sessions(self, *, most: int = 10_000) -> int:
        now = self._now_ms()
        count = 0
        shown = [letter for state, letter in _LETTERS if state != "trashed"]
        async for page in self._noted_scopes(None):
            answers = await self._ask_all(
                [
                    command
                    for names in page
                    for command in (
                        *(("ZCARD", names.list(letter)) for letter in shown),
                        ("ZRANGEBYSCORE", names.ends, "-inf", now, "LIMIT", 0, most),
                    )
                ]
            )
            step = len(shown) + 1
            for at, names in enumerate(page):
                *sizes, gone = answers[at * step : (at + 1) * step]
                places = await self._ask_all([("HGET", names.session(one.decode()), "place") for one in gone])
                count += sum(sizes) - sum(bool(place) and place[:1] in shown for place in places)
            if count >= most:
                return most
        return count

    async def due_sessions(self, *, limit: int = 100) -> Sequence[tuple[Scope, str, str]]:
        check_limit(limit, MAX_READ)
        now = self._clock()
        found: dict[tuple[Scope, str], str] = {}
        looked_at = 0
        wrapped = self._due_after is None
        while looked_at < _SCOPES_A_CALL:
            async for page in self._noted_scopes(self._due_after):
                due = await self._ask_all(
                    [("ZRANGEBYSCORE", names.ends, "-inf", self._now_ms(), "LIMIT", 0, limit) for names in page]
                )
                for names, ids in zip(page, due, strict=True):
                    for session_id in map(bytes.decode, ids):
                        with suppress(CorruptRecord):  # it hides no others from the janitor
                            stored = await self._find(names, session_id)
                            if stored is not None and is_gone(stored.session, now):
                                found[names.scope, session_id] = stored.session.incarnation
                        if len(found) == limit:
                            return _due(found)
                    self._due_after = names.scope
                looked_at += len(page)
                if looked_at >= _SCOPES_A_CALL:
                    return _due(found)
            self._due_after = None
            if wrapped:
                break
            wrapped = True
        return _due(found)

    async def purge_gone(self, scope: Scope, session_id: str, incarnation: str) -> Receipt:
        names = self._of(scope)

        async def attempt() -> Receipt:
            stored = await self._find(names, session_id)
            if stored is None or stored.session.incarnation != incarnation:
                return Receipt({})
            if not is_gone(stored.session, self._clock()):
                return Receipt({})
            return await self._purge(names, session_id, mark=stored.mark) or Receipt({})

        return await self._until_won(attempt)

    async def expired_runs(self, *, limit: int = 100) -> Sequence[tuple[Scope, str]]:
        check_limit(limit, MAX_READ)
        found: list[tuple[Scope, str]] = []
        for shard in range(SHARDS):
            key = self._names.work(RUNNING, shard)
            notes = await self._ask("ZRANGEBYSCORE", key, "-inf", to_us(self._clock()), "WITHSCORES")
            for note, score in zip(notes[::2], notes[1::2], strict=True):
                scope, run_id = _read_note(note)
                with suppress(CorruptRecord):
                    if await self._is_expired(key, note, score, scope, run_id):
                        found.append((scope, run_id))
                if len(found) == limit:
                    return found
        return found

    async def _is_expired(self, key: bytes, note: bytes, score: bytes, scope: Scope, run_id: str) -> bool:
        """Return whether a noted run waits for `take_run`; keep the note in step otherwise."""
        names, now = self._of(scope), self._clock()
        stored = await self._find_run(names, run_id)
        if stored is None or stored.run.is_over:
            if stored is not None or to_us(now) - int(score) >= SETTLED_MS * 1_000:
                await self._settle(key, note, score, b"")
            return False
        if stored.run.lease_until > now:
            await self._settle(key, note, score, to_us(stored.run.lease_until))
            return False
        found = await self._present_run(names, run_id)
        return found is not None and found[1].session.state != "trashed"

    async def sweep(self, *, events_before: datetime, limit: int = 1_000) -> int:
        check_moment(events_before, "events_before")
        check_limit(limit, MAX_READ)
        removed = 0
        for shard in range(SHARDS):
            for kind, until in ((PRUNED, self._now_ms() + 1), (ENDED, to_us(events_before))):
                key = self._names.work(kind, shard)
                notes = await self._ask("ZRANGEBYSCORE", key, "-inf", f"({until}", "WITHSCORES", "LIMIT", 0, limit)
                for note, score in zip(notes[::2], notes[1::2], strict=True):
                    scope, identifier = _read_note(note)
                    step = self._sweep_pruned if kind == PRUNED else self._sweep_ended
                    # another writer came between, or one record is corrupt: the note stays, the others go on
                    with suppress(Raced, CorruptRecord):
                        removed += await step(self._of(scope), identifier, limit - removed, key, note, score)
                    if removed >= limit:
                        return removed
        if not removed:
            await self._forget_empty_scopes()
        return removed

    async def _sweep_pruned(
        self, names: ScopeNames, session_id: str, most: int, key: bytes, note: bytes, score: bytes
    ) -> int:
        stored = await self._find(names, session_id)
        removed = 0 if stored is None else await self._trim(names, stored.session, most)
        if not removed and self._now_ms() - int(score) >= SETTLED_MS:
            await self._settle(key, note, score, b"")
        return removed

    async def _sweep_ended(
        self, names: ScopeNames, run_id: str, most: int, key: bytes, note: bytes, score: bytes
    ) -> int:
        del most  # the events of a run go together
        stored = await self._find_run(names, run_id)
        removed = 0
        if stored is not None and stored.run.is_over:
            session = await self._find(names, stored.run.session_id)
            removed = 0 if session is None else await self._drop(names, stored, session.session)
        elif to_us(self._clock()) - int(score) < SETTLED_MS * 1_000:
            return 0
        await self._settle(key, note, score, b"")
        return removed

    async def _forget_empty_scopes(self) -> None:
        """Look at some scopes, and forget those that have nothing any more and were not written to for an hour."""
        now = self._now_ms()
        page: list[ScopeNames] = await anext(aiter(self._noted_scopes(self._empty_after)), [])
        self._empty_after = page[-1].scope if page else None
        seen = await self._ask_all(
            [command for names in page for command in (("HGET", names.changes, "n"), ("ZCARD", names.ids))]
        )
        for names, count, size in zip(page, seen[::2], seen[1::2], strict=True):
            if size:
                continue
            keys = self._names.scopes(names.shard)
            noted = await self._ask("HGET", keys[1], names.key)
            if noted is None or now - int(noted) < SETTLED_MS:
                continue
            await self._function("forget_scope", keys, [names.key, noted], reads=False)
            change = Change()
            change.require(names.changes, "n", count or b"")
            change.do("UNLINK", names.changes)
            with suppress(Raced):  # somebody has begun to write again
                await self._commit(change)

    async def schema(self) -> Mapping[str, str]:
        version = await self._ask("GET", self._names.schema)
        with translated():
            seconds, microseconds = (await self._open.everywhere(["TIME"]))[0]
        return {
            "version": "0" if version is None else version.decode(),
            "wanted": str(SCHEMA_VERSION),
            "clock_us": str(int(seconds) * 1_000_000 + int(microseconds)),
        }


def _read_note(note: bytes) -> tuple[Scope, str]:
    scope, identifier = scope_and_rest(note)
    return scope, identifier.decode()


def _due(found: dict[tuple[Scope, str], str]) -> list[tuple[Scope, str, str]]:
    return [(scope, session_id, incarnation) for (scope, session_id), incarnation in found.items()]
