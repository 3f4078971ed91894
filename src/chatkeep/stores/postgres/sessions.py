"""Sessions and the small values beside them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

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
from chatkeep.stores.postgres.engine import Connection, Engine, Row
from chatkeep.stores.postgres.records import (
    Stored,
    bury,
    find,
    insert,
    new_record,
    present,
    save,
    scope_names,
    session_of,
    writable,
)
from chatkeep.stores.postgres.removal import Graves
from chatkeep.stores.postgres.texts import stored as as_stored, told

_UNPINNED: tuple[SessionState, ...] = ("active", "unpinned", "archived", "trashed")
_LAST_MS = 2**62


class PostgresSessions(Graves):
    """The records of conversations."""

    async def create_session(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        check_new_session(session_id, new)

        async def create(db: Connection) -> Stored:
            stored, is_new = await self._ensure(db, scope, session_id, new)
            if not is_new:
                raise SessionExists(session_id)
            return stored

        stored = await self._write(create)
        self._remember(scope, stored)
        return stored.session

    async def ensure_session(self, scope: Scope, session_id: str, new: NewSession) -> tuple[Session, bool]:
        check_new_session(session_id, new)
        stored, is_new = await self._write(lambda db: self._ensure(db, scope, session_id, new))
        self._remember(scope, stored)
        return stored.session, is_new

    async def _ensure(self, db: Connection, scope: Scope, session_id: str, new: NewSession) -> tuple[Stored, bool]:
        now = self._clock()
        stored = await find(db, scope, session_id, lock=True)
        if stored is not None and not is_gone(stored.session, now):
            if stored.session.state == "trashed":
                raise Closed(session_id)
            return stored, False
        if stored is not None:
            await bury(db, stored)
        return await insert(db, scope, new_record(session_id, new, now, by_append=False)), True

    async def find_session(self, scope: Scope, session_id: str, *, include_trashed: bool = False) -> Session | None:
        check_id(session_id, "session_id")
        stored = await self._read(lambda db: present(db, scope, session_id, self._clock()))
        if stored is None or (stored.session.state == "trashed" and not include_trashed):
            return None
        return stored.session

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

        async def update(db: Connection) -> Session:
            now = self._clock()
            stored = await writable(db, scope, session_id, now)
            changed = patched(stored.session, patch, now, expected_revision=expected_revision)
            return (await save(db, stored, changed)).session

        return await self._write(update)

    async def trash_session(self, scope: Scope, session_id: str, *, until: datetime) -> Session:
        check_id(session_id, "session_id")
        check_moment(until, "until")

        async def trash(db: Connection) -> Session:
            stored = await present(db, scope, session_id, self._clock(), lock=True)
            if stored is None:
                raise NotFound("session", session_id)
            return (await save(db, stored, trashed(stored.session, until))).session

        return await self._write(trash)

    async def restore_session(self, scope: Scope, session_id: str) -> Session:
        check_id(session_id, "session_id")

        async def restore(db: Connection) -> Session:
            now = self._clock()
            stored = await present(db, scope, session_id, now, lock=True)
            if stored is None:
                raise NotFound("session", session_id)
            return (await save(db, stored, restored(stored.session, now))).session

        return await self._write(restore)

    async def purge_session(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt:
        check_id(session_id, "session_id")

        async def purge(db: Connection) -> int:
            stored = await find(db, scope, session_id, lock=True)
            if stored is None or incarnation not in (None, stored.session.incarnation):
                raise NotFound("session", session_id)
            await bury(db, stored)
            return stored.key

        key = await self._write(purge)
        self._forget(scope, session_id)
        return Receipt({"sessions": 1}) + await self._empty_grave(key)

    async def scope_version(self, scope: Scope) -> str:
        """Return what differs after any change.

        Changes are numbered before they are committed, so a lower number may appear later than a higher one; therefore
        the newest numbers count, not the newest one alone.
        """
        row = await self._read(lambda db: db.row("latest_changes", *scope_names(scope)))
        if row is None:
            return "0"
        newest = blake2b(repr(row[2]).encode(), digest_size=12).hexdigest()
        return f"{row[0]}.{row[1]}.{newest}"


async def _page(
    db: Connection, scope: Scope, where: SessionFilter, limit: int, after: SessionPosition | None, now: datetime
) -> Page[Session, SessionPosition]:
    most = (MAX_EXAMINED if where.metadata else limit) + 1
    top = (_LAST_MS, "")
    behind = top if after is None else (after.modified_at_ms, as_stored(after.id))
    shelves: list[tuple[SessionState, int, str]] = []
    if after is None or after.pinned:
        shelves += [("pinned", *behind)] if where.admits_state("pinned") else []
        behind = top
    shelves += [(state, *behind) for state in _UNPINNED if where.admits_state(state)]
    columns = [[shelf[at] for shelf in shelves] for at in range(3)]
    rows = await db.rows("list_page", to_ms(now), *scope_names(scope), *columns, most)
    shown: list[Session] = []
    last: Session | None = None
    for examined, session in enumerate(map(session_of, rows)):
        if last is not None and (len(shown) == limit or examined == MAX_EXAMINED):
            return Page(tuple(shown), SessionPosition(last.pinned, last.modified_at_ms, last.id))
        last = session
        if not where.metadata or where.admits(last):
            shown.append(last)
    return Page(tuple(shown), None)


class PostgresStates(Engine):
    """Small values beside a session."""

    async def get_state(self, scope: Scope, session_id: str, key: str) -> State | None:
        check_id(session_id, "session_id")
        check_id(key, "key")

        row = await self._read(
            lambda db: db.row("read_state", as_stored(session_id), *scope_names(scope), as_stored(key))
        )
        self._check_readable(session_id, row)
        return None if row is None or row[2] is None else State(row[2], row[3])

    def _check_readable(self, session_id: str, row: Row | None) -> None:
        """Raise NotFound unless the row, which begins with state and end, is of a live session."""
        if row is None or row[0] == "trashed" or (row[1] is not None and to_ms(self._clock()) >= row[1]):
            raise NotFound("session", session_id)

    async def state_keys(self, scope: Scope, session_id: str) -> Sequence[str]:
        check_id(session_id, "session_id")
        rows = await self._read(lambda db: db.rows("list_states", as_stored(session_id), *scope_names(scope)))
        self._check_readable(session_id, rows[0] if rows else None)
        return sorted(told(row[2]) for row in rows if row[2] is not None)

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

        async def put(db: Connection) -> State:
            stored = await writable(db, scope, session_id, self._clock())
            if incarnation not in (None, stored.session.incarnation):
                raise NotFound("session", session_id)
            row = await db.row("find_state", stored.key, as_stored(key))
            version = 0 if row is None else row[1]
            if version != expected_version:
                raise RevisionConflict(expected=expected_version, current=version)
            state = State(bytes(value), version + 1)
            await db.run("put_state", stored.key, as_stored(key), state.version, state.value)
            return state

        return await self._write(put)
