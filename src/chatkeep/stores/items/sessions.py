"""Sessions: each change is one conditional put of the session's item."""

from __future__ import annotations

import hashlib
import heapq
import logging
from collections.abc import AsyncIterator
from datetime import datetime

from chatkeep.domain.errors import Closed, CorruptRecord, NotFound, SessionExists
from chatkeep.domain.ids import new_id
from chatkeep.domain.limits import MAX_EXAMINED, MAX_LIST, check_limit
from chatkeep.domain.pages import Page, Receipt, SessionFilter, SessionPosition
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import (
    NewSession,
    Session,
    SessionPatch,
    SessionState,
    created,
    is_gone,
    patched,
    restored,
    trashed,
)
from chatkeep.stores.checks import check_moment, check_new_session, check_patch
from chatkeep.stores.items.heads import Head, session_from
from chatkeep.stores.items.keys import session_key, version_key
from chatkeep.stores.items.removal import Removal
from chatkeep.stores.items.tables import BY_CHANGE, BY_LIST, SESSIONS, WORK, bytes_of, int_of
from chatkeep.stores.records import STATE_LETTERS, moment, scope_key

_log = logging.getLogger(__name__)

_VERSION_DEPTH = 200
"""Latest changes that a scope's version is made of; what changes next is among them even if clocks disagree."""


class ItemSessions(Removal):
    """The records of conversations."""

    async def create_session(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        session, is_new = await self.ensure_session(scope, session_id, new)
        if not is_new:
            raise SessionExists(session_id)
        return session

    async def ensure_session(self, scope: Scope, session_id: str, new: NewSession) -> tuple[Session, bool]:
        check_new_session(session_id, new)

        async def attempt() -> tuple[Session, bool]:
            now = self._clock()
            head = await self._head(scope, session_id)
            if head is not None and not is_gone(head.session, now):
                if head.session.state == "trashed":
                    raise Closed(session_id)
                return head.session, False
            if head is not None:
                await self._bury(head)
            fresh = Head(scope, created(session_id, new_id(), new, now, by_append=False))
            return (await self._save(fresh)).session, True

        return await self._until_won(session_key(scope, session_id), attempt)

    async def find_session(self, scope: Scope, session_id: str, *, include_trashed: bool = False) -> Session | None:
        head = await self._present(scope, session_id)
        if head is None or (head.session.state == "trashed" and not include_trashed):
            return None
        return head.session

    async def list_sessions(
        self, scope: Scope, where: SessionFilter, *, limit: int, after: SessionPosition | None = None
    ) -> Page[Session, SessionPosition]:
        check_limit(limit, MAX_LIST)
        now = self._clock()
        shown: list[Session] = []
        last: Session | None = None
        examined = 0
        async for session in self._in_order(scope, where, after, limit):
            if is_gone(session, now):
                continue
            if last is not None and (len(shown) == limit or examined == MAX_EXAMINED):
                return Page(tuple(shown), _position(last))
            last = session
            examined += 1
            if where.admits(session):
                shown.append(session)
        return Page(tuple(shown), None)

    async def _in_order(
        self, scope: Scope, where: SessionFilter, after: SessionPosition | None, page: int
    ) -> AsyncIterator[Session]:
        """Yield the listed sessions of all states that `where` shows, merged, descending, behind `after`."""
        states = [state for state in STATE_LETTERS if where.admits_state(state)]
        streams = [stream for state in states if (stream := self._of_state(scope, state, after, page)) is not None]
        waiting: list[tuple[bool, int, tuple[int, ...], int, Session]] = []

        async def refill(at: int) -> None:
            session = await anext(streams[at], None)
            if session is not None:
                # negated and with an end mark, so that the smallest of the heap is the greatest of the list
                identifier = (*(-byte for byte in session.id.encode()), 1)
                heapq.heappush(waiting, (not session.pinned, -session.modified_at_ms, identifier, at, session))

        for at in range(len(streams)):
            await refill(at)
        while waiting:
            *_, at, session = heapq.heappop(waiting)
            yield session
            await refill(at)

    def _of_state(
        self, scope: Scope, state: SessionState, after: SessionPosition | None, page: int
    ) -> AsyncIterator[Session] | None:
        """Yield the listed sessions of one state, descending, behind `after`; None if all of them lie before it."""
        letter = STATE_LETTERS[state]
        behind: bytes | None = None
        if after is not None and after.pinned == (state == "pinned"):
            behind = letter + moment(after.modified_at_ms) + after.id.encode()
        elif after is not None and state == "pinned":
            return None
        return self._below(scope, letter, behind, page)

    async def _below(self, scope: Scope, letter: bytes, behind: bytes | None, page: int) -> AsyncIterator[Session]:
        async for item in self._tables.query(
            SESSIONS,
            scope_key(scope),
            low=letter,
            high=behind,
            index=BY_LIST,
            only=("lst", "rec"),
            descending=True,
            page=page + 1,
        ):
            if bytes_of(item, "lst") == behind:
                continue
            try:
                yield session_from(item)
            except CorruptRecord:
                _log.warning("a list leaves a session out: its record cannot be read")

    async def update_session(
        self, scope: Scope, session_id: str, patch: SessionPatch, *, expected_revision: int | None = None
    ) -> Session:
        check_patch(patch)
        return await self._change(
            scope,
            session_id,
            lambda session: patched(session, patch, self._clock(), expected_revision=expected_revision),
        )

    async def _found(self, scope: Scope, session_id: str) -> Head:
        head = await self._present(scope, session_id)
        if head is None:
            raise NotFound("session", session_id)
        return head

    async def trash_session(self, scope: Scope, session_id: str, *, until: datetime) -> Session:
        check_moment(until, "until")
        return await self._change(scope, session_id, lambda session: trashed(session, until), find=self._found)

    async def restore_session(self, scope: Scope, session_id: str) -> Session:
        return await self._change(scope, session_id, lambda session: restored(session, self._clock()), find=self._found)

    async def purge_session(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt:
        async def attempt() -> Receipt:
            receipt = await self._purge_stored(scope, session_id, incarnation=incarnation)
            if receipt is None:
                raise NotFound("session", session_id)
            return receipt

        return await self._until_won(session_key(scope, session_id), attempt)

    async def scope_version(self, scope: Scope) -> str:
        """Return a digest of the latest changes of the scope's sessions and of the number of its purges.

        No write is made for it: each put of a head stamps it, and the index of stamps is read here.
        """
        purges = await self._tables.get(WORK, version_key(scope_key(scope)))
        digest = hashlib.sha256(str(0 if purges is None else int_of(purges, "n")).encode())
        left = _VERSION_DEPTH
        async for item in self._tables.query(
            SESSIONS, scope_key(scope), index=BY_CHANGE, only=("sk", "chg"), descending=True, page=_VERSION_DEPTH
        ):
            digest.update(hashlib.sha256(bytes_of(item, "sk")).digest() + bytes_of(item, "chg"))
            left -= 1
            if not left:
                break
        return digest.hexdigest()[:32]


def _position(session: Session) -> SessionPosition:
    return SessionPosition(session.pinned, session.modified_at_ms, session.id)
