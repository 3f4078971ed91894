"""Sessions and the small values beside them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chatkeep.domain.errors import Closed, NotFound, RevisionConflict, SessionExists
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
from chatkeep.stores.memory.tables import ROW_BYTES, Handle, Shelf

_Place = tuple[bool, int, bytes]


def _place(session: Session) -> _Place:
    return (session.pinned, session.modified_at_ms, session.id.encode())


class MemorySessions(Handle):
    """The records of conversations."""

    async def create_session(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        check_new_session(session_id, new)
        shelf = self._present(scope, session_id)
        if shelf is None:
            return self._create(scope, session_id, new)
        if shelf.record.state == "trashed":
            raise Closed(session_id)
        raise SessionExists(session_id)

    async def ensure_session(self, scope: Scope, session_id: str, new: NewSession) -> tuple[Session, bool]:
        check_new_session(session_id, new)
        shelf = self._present(scope, session_id)
        if shelf is None:
            return self._create(scope, session_id, new), True
        if shelf.record.state == "trashed":
            raise Closed(session_id)
        return shelf.record, False

    def _create(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        shelf = self._new_shelf(created(session_id, new_id(), new, self._clock(), by_append=False))
        self._charge(shelf, 0)
        self._shelve(scope, shelf)
        return shelf.record

    def _new_shelf(self, record: Session) -> Shelf:
        """Return a new incarnation that is not stored yet."""
        return Shelf(record, uncharged=ROW_BYTES + len(record.metadata_json))

    def _shelve(self, scope: Scope, shelf: Shelf) -> None:
        """Store a new incarnation; a gone one of that id leaves for good. Nothing happens to one that is stored."""
        stored = self._tables.shelves.get(scope, {}).get(shelf.record.id)
        if stored is shelf:
            return
        if stored is not None:
            self._discard(scope, stored)
        self._tables.shelves.setdefault(scope, {})[shelf.record.id] = shelf
        self._touch(scope)

    async def find_session(self, scope: Scope, session_id: str, *, include_trashed: bool = False) -> Session | None:
        shelf = self._present(scope, session_id)
        if shelf is None or (shelf.record.state == "trashed" and not include_trashed):
            return None
        return shelf.record

    async def list_sessions(
        self, scope: Scope, where: SessionFilter, *, limit: int, after: SessionPosition | None = None
    ) -> Page[Session, SessionPosition]:
        check_limit(limit, MAX_LIST)
        now = self._clock()
        behind = None if after is None else (after.pinned, after.modified_at_ms, after.id.encode())
        shelves = self._open().shelves.get(scope, {}).values()
        candidates = sorted(
            (
                shelf.record
                for shelf in shelves
                if not shelf.record.hidden
                and where.admits_state(shelf.record.state)
                and not is_gone(shelf.record, now)
                and (behind is None or _place(shelf.record) < behind)
            ),
            key=_place,
            reverse=True,
        )
        shown: list[Session] = []
        for examined, session in enumerate(candidates, start=1):
            if where.admits(session):
                shown.append(session)
            if (len(shown) == limit or examined == MAX_EXAMINED) and examined < len(candidates):
                return Page(tuple(shown), SessionPosition(session.pinned, session.modified_at_ms, session.id))
        return Page(tuple(shown), None)

    async def update_session(
        self, scope: Scope, session_id: str, patch: SessionPatch, *, expected_revision: int | None = None
    ) -> Session:
        check_patch(patch)
        shelf = self._writable(scope, session_id)
        changed = patched(shelf.record, patch, self._clock(), expected_revision=expected_revision)
        self._charge(shelf, len(changed.metadata_json) - len(shelf.record.metadata_json))
        return self._put(scope, shelf, changed)

    async def trash_session(self, scope: Scope, session_id: str, *, until: datetime) -> Session:
        check_moment(until, "until")
        shelf = self._present(scope, session_id)
        if shelf is None:
            raise NotFound("session", session_id)
        return self._put(scope, shelf, trashed(shelf.record, until))

    async def restore_session(self, scope: Scope, session_id: str) -> Session:
        shelf = self._present(scope, session_id)
        if shelf is None:
            raise NotFound("session", session_id)
        return self._put(scope, shelf, restored(shelf.record, self._clock()))

    async def purge_session(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt:
        check_id(session_id, "session_id")
        shelf = self._open().shelves.get(scope, {}).get(session_id)
        if shelf is None or incarnation not in (None, shelf.record.incarnation):
            raise NotFound("session", session_id)
        return self._discard(scope, shelf)

    async def scope_version(self, scope: Scope) -> str:
        return str(self._open().versions[scope])


class MemoryStates(Handle):
    """Small values beside a session."""

    async def get_state(self, scope: Scope, session_id: str, key: str) -> State | None:
        check_id(key, "key")
        return self._live(scope, session_id).states.get(key)

    async def state_keys(self, scope: Scope, session_id: str) -> Sequence[str]:
        return sorted(self._live(scope, session_id).states)

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
        shelf = self._writable(scope, session_id)
        if incarnation not in (None, shelf.record.incarnation):
            raise NotFound("session", session_id)
        stored = shelf.states.get(key)
        version = 0 if stored is None else stored.version
        if version != expected_version:
            raise RevisionConflict(expected=expected_version, current=version)
        self._charge(shelf, len(value) - len(stored.value) if stored else len(value) + ROW_BYTES)
        shelf.states[key] = State(bytes(value), version + 1)
        return shelf.states[key]
