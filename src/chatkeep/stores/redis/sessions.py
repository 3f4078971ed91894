"""Sessions and the small values beside them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from chatkeep.domain.errors import CorruptRecord, NotFound, RevisionConflict, SessionExists
from chatkeep.domain.ids import check_id, new_id
from chatkeep.domain.limits import MAX_EXAMINED, MAX_LIST, check_limit
from chatkeep.domain.pages import Page, Receipt, SessionFilter, SessionPosition
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import (
    NewSession,
    Session,
    SessionPatch,
    created,
    is_gone,
    patched,
    restored,
    trashed,
)
from chatkeep.ports.store import State
from chatkeep.stores.checks import check_moment, check_new_session, check_patch, check_state
from chatkeep.stores.races import Raced
from chatkeep.stores.records import STATE_LETTERS, moment, placed_at, session_from_json
from chatkeep.stores.redis.engine import ENDED, PRUNED, RUNNING, Change, Stored
from chatkeep.stores.redis.log import RedisLog
from chatkeep.stores.redis.names import ScopeNames
from chatkeep.stores.redis.records import put, readable, remove, writable

_log = logging.getLogger(__name__)

_FIRST = "+"


class RedisSessions(RedisLog):
    """The records of conversations."""

    async def create_session(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        session, is_new = await self.ensure_session(scope, session_id, new)
        if not is_new:
            raise SessionExists(session_id)
        return session

    async def ensure_session(self, scope: Scope, session_id: str, new: NewSession) -> tuple[Session, bool]:
        check_new_session(session_id, new)
        names = self._of(scope)

        async def attempt() -> tuple[Session, bool]:
            now = self._clock()
            stored = await self._find(names, session_id)
            if stored is not None and not is_gone(stored.session, now):
                writable(stored, session_id, now)
                await self._confirm(names, stored)
                return stored.session, False
            await self._note_scope(scope)
            change = Change()
            grave = None if stored is None else await self._grave(names, session_id, stored.mark)
            if grave is not None:
                remove(change, names, grave)
            session = created(session_id, new_id(), new, now, by_append=False)
            saved = put(change, names, None, session, instead_of=grave)
            await self._commit(change)
            self._remember(scope, saved)
            return session, True

        return await self._until_won(attempt)

    async def find_session(self, scope: Scope, session_id: str, *, include_trashed: bool = False) -> Session | None:
        stored = await self._find(self._of(scope), session_id)
        if stored is None or is_gone(stored.session, self._clock()):
            return None
        return stored.session if include_trashed or stored.session.state != "trashed" else None

    async def list_sessions(
        self, scope: Scope, where: SessionFilter, *, limit: int, after: SessionPosition | None = None
    ) -> Page[Session, SessionPosition]:
        check_limit(limit, MAX_LIST)
        now = self._clock()
        shown: list[Session] = []
        last = after
        examined = 0
        while True:
            step = (MAX_EXAMINED if where.metadata else limit) + 1
            found, is_all = await self._some_of_lists(self._of(scope), where, last, step)
            for position, session in found:
                if session is not None and not is_gone(session, now):
                    if len(shown) == limit or examined == MAX_EXAMINED:
                        return Page(tuple(shown), last)
                    examined += 1
                    if where.admits(session):
                        shown.append(session)
                last = position
            if is_all:
                return Page(tuple(shown), None)

    async def _some_of_lists(
        self, names: ScopeNames, where: SessionFilter, after: SessionPosition | None, most: int
    ) -> tuple[list[tuple[SessionPosition, Session | None]], bool]:
        """Return what is listed behind `after`, merged, descending, and whether that is all. None is a record that
        cannot be read.
        """
        lists: list[tuple[bytes, bool]] = []
        begins: list[bytes | str] = []
        for state, letter in STATE_LETTERS.items():
            pinned = state == "pinned"
            if not where.admits_state(state) or (after is not None and pinned and not after.pinned):
                continue
            lists.append((names.list(letter), pinned))
            if after is not None and after.pinned == pinned:
                begins.append(b"(" + moment(after.modified_at_ms) + after.id.encode())
            else:
                begins.append(_FIRST)
        if not lists:
            return [], True
        found: list[tuple[SessionPosition, Session | None]] = []
        waiting: list[SessionPosition] = []
        answers = await self._function("page", [key for key, _ in lists], [most, names.sessions, *begins])
        for (_, pinned), rows in zip(lists, answers, strict=True):
            part = [
                (SessionPosition(pinned, *placed_at(at)), _readable(text))
                for at, text in zip(rows[::2], rows[1::2], strict=True)
            ]
            found += part
            if len(part) == most:
                waiting.append(part[-1][0])  # what is below it may be in this list
        found.sort(key=lambda one: _order(one[0]), reverse=True)
        if not waiting:
            return found, True
        end = max(map(_order, waiting))
        return [one for one in found if _order(one[0]) >= end], False

    async def update_session(
        self, scope: Scope, session_id: str, patch: SessionPatch, *, expected_revision: int | None = None
    ) -> Session:
        check_patch(patch)

        def change(session: Session) -> Session:
            return patched(session, patch, self._clock(), expected_revision=expected_revision)

        return await self._changed(scope, session_id, change)

    async def _changed_anywhere(self, scope: Scope, session_id: str, change: Callable[[Session], Session]) -> Session:
        """Apply a pure change to the record of a session, live or trashed, and return the result."""
        names = self._of(scope)

        async def attempt() -> Session:
            stored = await self._find(names, session_id)
            if stored is None or is_gone(stored.session, self._clock()):
                raise NotFound("session", session_id)
            return (await self._save(names, stored, change(stored.session))).session

        return await self._until_won(attempt)

    async def trash_session(self, scope: Scope, session_id: str, *, until: datetime) -> Session:
        check_moment(until, "until")
        return await self._changed_anywhere(scope, session_id, lambda session: trashed(session, until))

    async def restore_session(self, scope: Scope, session_id: str) -> Session:
        return await self._changed_anywhere(scope, session_id, lambda session: restored(session, self._clock()))

    async def purge_session(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt:
        check_id(session_id, "session_id")
        names = self._of(scope)

        async def attempt() -> Receipt:
            stored, mark = await self._ask("HMGET", names.session(session_id), "inc", "v")
            if incarnation is not None and stored != incarnation.encode():
                raise NotFound("session", session_id)
            receipt = None if mark is None else await self._purge(names, session_id, mark=mark)
            if receipt is None:
                raise NotFound("session", session_id)
            return receipt

        return await self._until_won(attempt)

    async def _purge(self, names: ScopeNames, session_id: str, *, mark: bytes | None = None) -> Receipt | None:
        """Remove a session, whatever its state; None if there is none. Raises Raced, as if it is not that of `mark`."""
        self._forget(names.scope, session_id)
        grave = await self._grave(names, session_id, mark)
        if grave is None:
            return None
        notes = [(self._names.work(PRUNED, names.shard), names.key + session_id.encode())]
        for run_id in grave.run_ids:
            notes += [(self._names.work(kind, names.shard), names.key + run_id.encode()) for kind in (RUNNING, ENDED)]
        dates = await self._ask_all([("ZSCORE", *note) for note in notes])
        first, last, keys, states, *events = await self._ask_all(
            [
                ("HGET", names.session(session_id), "first"),
                ("HGET", names.session(session_id), "last"),
                ("HLEN", names.keys(session_id)),
                ("HLEN", names.states(session_id)),
                *(("XLEN", names.events(run_id)) for run_id in grave.run_ids),
            ]
        )
        change = Change()
        remove(change, names, grave)
        await self._commit(change)
        for note, date in zip(notes, dates, strict=True):
            if date is not None:
                await self._settle(*note, date, b"")
        counts = {
            "sessions": 1,
            "messages": int(last or 0) - int(first or 1) + 1,
            "keys": keys,
            "state": states // 2,
            "runs": len(grave.run_ids),
            "events": sum(events),
        }
        return Receipt({kind: count for kind, count in counts.items() if count})

    async def scope_version(self, scope: Scope) -> str:
        epoch, count = await self._ask("HMGET", self._of(scope).changes, "epoch", "n")
        return "0" if epoch is None else f"{epoch.decode()}.{int(count or 0)}"


def _readable(text: bytes | None) -> Session | None:
    try:
        return session_from_json(text or b"")
    except CorruptRecord:
        _log.warning("a list leaves a session out: its record cannot be read")
        return None


def _order(position: SessionPosition) -> tuple[bool, int, bytes]:
    return (position.pinned, position.modified_at_ms, position.id.encode())


class RedisStates(RedisLog):
    """Small values beside a session: of each its version, and the value."""

    async def get_state(self, scope: Scope, session_id: str, key: str) -> State | None:
        check_id(session_id, "session_id")
        check_id(key, "key")
        names = self._of(scope)
        record, fields = await self._ask_all(
            [
                ("HMGET", names.session(session_id), "rec", "v"),
                ("HMGET", names.states(session_id), "v" + key, "d" + key),
            ]
        )
        stored = None if record[1] is None else Stored(session_from_json(record[0] or b""), record[1])
        readable(stored, session_id, self._clock())
        return None if fields[0] is None else State(fields[1], int(fields[0]))

    async def state_keys(self, scope: Scope, session_id: str) -> Sequence[str]:
        names = self._of(scope)
        readable(await self._find(names, session_id), session_id, self._clock())
        fields = await self._ask("HKEYS", names.states(session_id))
        return sorted(field[1:].decode() for field in fields if field[:1] == b"v")

    async def put_state(
        self,
        scope: Scope,
        session_id: str,
        key: str,
        value: bytes,
        *,
        expected_version: int,
        incarnation: str | None = None,
    ) -> State:
        check_state(key, value)
        names = self._of(scope)
        place = names.states(session_id)

        async def attempt() -> State:
            stored = writable(await self._find(names, session_id), session_id, self._clock())
            if incarnation not in (None, stored.session.incarnation):
                raise NotFound("session", session_id)
            state = State(bytes(value), expected_version + 1)
            change = Change()
            change.require(names.session(session_id), "inc", stored.session.incarnation.encode())
            change.require(names.session(session_id), "state", stored.session.state.encode())
            change.require(place, "v" + key, b"%d" % expected_version if expected_version else b"")
            change.do("HSET", place, "v" + key, state.version, "d" + key, state.value)
            try:
                await self._commit(change)
            except Raced:
                version = int(await self._ask("HGET", place, "v" + key) or 0)
                if version != expected_version:
                    raise RevisionConflict(expected=expected_version, current=version) from None
                raise
            return state

        return await self._until_won(attempt)
