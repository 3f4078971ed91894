"""Sessions and the small values beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import merge
from itertools import chain

from chatkeep.domain.errors import Closed, NotFound, RevisionConflict, SessionExists
from chatkeep.domain.ids import check_id
from chatkeep.domain.limits import MAX_EXAMINED, MAX_LIST, check_limit
from chatkeep.domain.pages import Page, Receipt, SessionFilter, SessionPosition
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import (
    NewSession,
    Session,
    SessionPatch,
    SessionState,
    is_gone,
    patched,
    restored,
    to_ms,
    trashed,
)
from chatkeep.ports.store import State
from chatkeep.stores.checks import check_moment, check_new_session, check_patch, check_state
from chatkeep.stores.sqlite.connection import Database, Row
from chatkeep.stores.sqlite.engine import Engine
from chatkeep.stores.sqlite.indexing import retitle
from chatkeep.stores.sqlite.records import (
    find,
    present,
    readable_key,
    scope_names,
    session_of,
    writable,
)
from chatkeep.stores.sqlite.removal import bury
from chatkeep.stores.sqlite.saving import insert, new_record, save
from chatkeep.stores.sqlite.transaction import Write

_UNPINNED: tuple[SessionState, ...] = ("active", "unpinned", "archived", "trashed")
_LAST_MS = 2**62
_ID, _MODIFIED = 0, 7


def _place(row: Row) -> tuple[int, bytes]:
    return (row[_MODIFIED], row[_ID].encode())


def _shelf(
    db: Database, scope_key: int, states: list[SessionState], behind: tuple[int, str], now: datetime, most: int
) -> Iterator[Row]:
    """Return rows of sessions in any of the states, in the order of the list, read as they are asked for."""
    found = []
    for state in states:
        rows = db.cursor("list_state", (scope_key, state, *behind, to_ms(now), most))
        first = next(rows, None)
        if first is not None:
            found.append(chain((first,), rows))
    return found[0] if len(found) == 1 else merge(*found, key=_place, reverse=True)


def _page(
    db: Database, scope: Scope, where: SessionFilter, limit: int, after: SessionPosition | None, now: datetime
) -> Page[Session, SessionPosition]:
    owner = db.row("find_scope", scope_names(scope))
    if owner is None:
        return Page((), None)
    most = (MAX_EXAMINED if where.metadata else limit) + 1
    pinned: list[SessionState] = ["pinned"] if where.admits_state("pinned") else []
    others = [state for state in _UNPINNED if where.admits_state(state)]
    top = (_LAST_MS, "")
    behind = top if after is None else (after.modified_at_ms, after.id)
    shelves = []
    if after is None or after.pinned:
        shelves.append(_shelf(db, owner[0], pinned, behind, now, most))
        behind = top
    shelves.append(_shelf(db, owner[0], others, behind, now, most))
    shown: list[Session] = []
    last: Session | None = None
    for examined, row in enumerate(chain.from_iterable(shelves)):
        if last is not None and (len(shown) == limit or examined == MAX_EXAMINED):
            return Page(tuple(shown), SessionPosition(last.pinned, last.modified_at_ms, last.id))
        last = session_of(row)
        if not where.metadata or where.admits(last):
            shown.append(last)
    return Page(tuple(shown), None)


class SqliteSessions(Engine):
    """The records of conversations."""

    async def create_session(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        check_new_session(session_id, new)

        def create(write: Write) -> Session:
            session, is_new = self._ensure(write, scope, session_id, new)
            if not is_new:
                raise SessionExists(session_id)
            return session

        return await self._write(create)

    async def ensure_session(self, scope: Scope, session_id: str, new: NewSession) -> tuple[Session, bool]:
        check_new_session(session_id, new)
        return await self._write(lambda write: self._ensure(write, scope, session_id, new))

    def _ensure(self, write: Write, scope: Scope, session_id: str, new: NewSession) -> tuple[Session, bool]:
        now = self._clock()
        stored = find(write.db, scope, session_id)
        if stored is not None and not is_gone(stored.session, now):
            if stored.session.state == "trashed":
                raise Closed(session_id)
            return stored.session, False
        if stored is not None:
            bury(write, stored)
        return insert(write, scope, new_record(session_id, new, now, by_append=False)).session, True

    async def find_session(self, scope: Scope, session_id: str, *, include_trashed: bool = False) -> Session | None:
        check_id(session_id, "session_id")

        def find_it(db: Database) -> Session | None:
            stored = present(db, scope, session_id, self._clock())
            if stored is None or (stored.session.state == "trashed" and not include_trashed):
                return None
            return stored.session

        return await self._read(find_it)

    async def list_sessions(
        self, scope: Scope, where: SessionFilter, *, limit: int, after: SessionPosition | None = None
    ) -> Page[Session, SessionPosition]:
        check_limit(limit, MAX_LIST)
        return await self._read(lambda db: _page(db, scope, where, limit, after, self._clock()))

    async def update_session(
        self, scope: Scope, session_id: str, patch: SessionPatch, *, expected_revision: int | None = None
    ) -> Session:
        check_id(session_id, "session_id")
        check_patch(patch)

        def update(write: Write) -> Session:
            now = self._clock()
            stored = writable(write.db, scope, session_id, now)
            changed = patched(stored.session, patch, now, expected_revision=expected_revision)
            retitle(write, stored, changed.title)
            return save(write, stored, changed)

        return await self._write(update)

    async def trash_session(self, scope: Scope, session_id: str, *, until: datetime) -> Session:
        check_id(session_id, "session_id")
        check_moment(until, "until")

        def trash(write: Write) -> Session:
            stored = present(write.db, scope, session_id, self._clock())
            if stored is None:
                raise NotFound("session", session_id)
            return save(write, stored, trashed(stored.session, until))

        return await self._write(trash)

    async def restore_session(self, scope: Scope, session_id: str) -> Session:
        check_id(session_id, "session_id")

        def restore(write: Write) -> Session:
            now = self._clock()
            stored = present(write.db, scope, session_id, now)
            if stored is None:
                raise NotFound("session", session_id)
            return save(write, stored, restored(stored.session, now))

        return await self._write(restore)

    async def purge_session(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt:
        check_id(session_id, "session_id")

        def purge(write: Write) -> int:
            stored = find(write.db, scope, session_id)
            if stored is None or incarnation not in (None, stored.session.incarnation):
                raise NotFound("session", session_id)
            bury(write, stored)
            return stored.key

        return Receipt({"sessions": 1}) + await self._empty_grave(await self._write(purge))

    async def scope_version(self, scope: Scope) -> str:
        def version(db: Database) -> str:
            found = db.row("find_scope", scope_names(scope))
            return "0" if found is None else f"{found[0]}.{found[1]}"

        return await self._read(version)


class SqliteStates(Engine):
    """Small values beside a session."""

    async def get_state(self, scope: Scope, session_id: str, key: str) -> State | None:
        check_id(session_id, "session_id")
        check_id(key, "key")

        def get(db: Database) -> State | None:
            session = readable_key(db, scope, session_id, self._clock())
            row = db.row("find_state", (session, key))
            return None if row is None else State(*row)

        return await self._read(get)

    async def state_keys(self, scope: Scope, session_id: str) -> Sequence[str]:
        check_id(session_id, "session_id")

        def keys(db: Database) -> list[str]:
            session = readable_key(db, scope, session_id, self._clock())
            return sorted(name for (name,) in db.rows("list_states", (session,)))

        return await self._read(keys)

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
        check_id(session_id, "session_id")
        check_state(key, value)

        def put(write: Write) -> State:
            stored = writable(write.db, scope, session_id, self._clock())
            if incarnation not in (None, stored.session.incarnation):
                raise NotFound("session", session_id)
            row = write.db.row("find_state", (stored.key, key))
            version = 0 if row is None else row[1]
            if version != expected_version:
                raise RevisionConflict(expected=expected_version, current=version)
            state = State(bytes(value), version + 1)
            write.db.run("put_state", (stored.key, key, state.version, state.value))
            return state

        return await self._write(put)
