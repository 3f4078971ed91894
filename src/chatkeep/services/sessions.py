"""Sessions: create, find, change, delete."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta

from chatkeep.domain.errors import IdReused, NotFound, RevisionConflict, SessionExists
from chatkeep.domain.ids import check_id, derived_id, new_id
from chatkeep.domain.limits import MAX_LIST, check_limit
from chatkeep.domain.messages import JsonValue
from chatkeep.domain.pages import Page, Receipt, SessionFilter, SessionPosition
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import (
    HIDDEN_UNTIL_MESSAGE,
    HIDDEN_UNTIL_REVEAL,
    NewSession,
    Session,
    SessionPatch,
    SettableState,
    dump,
)
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import State, Store
from chatkeep.services.digests import digest_of
from chatkeep.services.retrying import retried

ABANDONED_AFTER = timedelta(days=1)
"""A session whose creation was interrupted expires, unseen, after so long."""

_STATE_KEY = "chatkeep.create"


@dataclass(frozen=True, slots=True)
class _Mark:
    """Which request created a session."""

    key: str
    digest: bytes

    def encode(self) -> bytes:
        return dump([self.key, self.digest.hex()]).encode()

    @classmethod
    def decode(cls, value: bytes) -> _Mark:
        key, digest = json.loads(value)
        return cls(key, bytes.fromhex(digest))


def _is_leftover(session: Session) -> bool:
    """Return whether it is all that is left of a chat that never stored its first message."""
    return session.hidden == HIDDEN_UNTIL_MESSAGE and session.last_seq == 0


class SessionService:
    """The life of sessions inside a scope. Temporary errors of the store are retried."""

    def __init__(self, store: Store, clock: Clock, policies: RetentionPolicies) -> None:
        self._store = store
        self._clock = clock
        self._policies = policies

    def idle_ttl(self, scope: Scope) -> timedelta | None:
        """Return how long a session of this scope's app lives without activity."""
        return self._policies.of(scope.app).idle_ttl

    def _new(self, scope: Scope, title: str, state: SettableState, metadata: dict[str, JsonValue] | None) -> NewSession:
        return NewSession(
            title=title,
            title_source="user" if title else "auto",
            state=state,
            metadata=metadata or {},
            idle_ttl=self.idle_ttl(scope),
        )

    async def create(
        self,
        scope: Scope,
        session_id: str | None = None,
        *,
        title: str = "",
        state: SettableState = "active",
        metadata: dict[str, JsonValue] | None = None,
    ) -> Session:
        """Create a session, with an id of its own if none is given. Raises SessionExists, Closed, Invalid."""
        new = self._new(scope, title, state, metadata)
        if session_id is None:
            own = new_id()
            return (await retried(lambda: self._store.ensure_session(scope, own, new)))[0]
        wanted = check_id(session_id, "session id")
        try:
            return await retried(lambda: self._store.create_session(scope, wanted, new))
        except SessionExists:
            found = await self.find(scope, wanted)
            if found is None or not _is_leftover(found):
                raise
            return await self._reveal(scope, found, new)

    async def create_once(
        self,
        scope: Scope,
        session_id: str | None = None,
        *,
        idempotency_key: str | None,
        title: str = "",
        state: SettableState = "active",
        metadata: dict[str, JsonValue] | None = None,
    ) -> tuple[Session, bool]:
        """Create a session once for the key, and return it and whether this call did it; without a key as `create`.

        The id derives from the key if none is given. A repeat completes what a crash has interrupted, or returns the
        session as it is now. Raises as `create`, and IdReused for a key that came with other settings.
        """
        if idempotency_key is None:
            return await self.create(scope, session_id, title=title, state=state, metadata=metadata), True
        check_id(idempotency_key, "idempotency key")
        wanted = session_id
        if wanted is None:
            wanted = derived_id("create", scope.tenant, scope.app, scope.user, idempotency_key)
        check_id(wanted, "session id")
        asked = digest_of([idempotency_key, wanted, title, state, metadata or {}])
        new = self._new(scope, title, state, metadata)
        session = await self._begin(scope, wanted, new)
        mark = await retried(lambda: self._store.get_state(scope, wanted, _STATE_KEY))
        if mark is None and session.hidden != HIDDEN_UNTIL_REVEAL and not _is_leftover(session):
            raise SessionExists(wanted)
        if mark is None:
            mark = await self._mark(scope, wanted, _Mark(idempotency_key, asked))
        stored = _Mark.decode(mark.value)
        if stored.key != idempotency_key:
            raise SessionExists(wanted)
        if stored.digest != asked:
            raise IdReused(idempotency_key)
        if session.hidden:
            return await self._reveal(scope, session, new), True
        return session, False

    async def _begin(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        """Create the session out of sight, or return the one that is there."""
        hidden = replace(new, hidden=HIDDEN_UNTIL_REVEAL, idle_ttl=ABANDONED_AFTER)
        session, _ = await retried(lambda: self._store.ensure_session(scope, session_id, hidden))
        return session

    async def _mark(self, scope: Scope, session_id: str, mark: _Mark) -> State:
        """Write whose session it is, and return that, or what another caller wrote first."""
        try:
            return await self._store.put_state(scope, session_id, _STATE_KEY, mark.encode(), expected_version=0)
        except RevisionConflict:
            found = await self._store.get_state(scope, session_id, _STATE_KEY)
            if found is None:
                raise
            return found

    async def _reveal(self, scope: Scope, session: Session, new: NewSession) -> Session:
        patch = SessionPatch(
            title=new.title or None,
            state=new.state,
            metadata=new.metadata,
            reveal=True,
            set_idle_ttl=True,
            idle_ttl=new.idle_ttl,
        )
        try:
            return await retried(
                lambda: self._store.update_session(scope, session.id, patch, expected_revision=session.revision)
            )
        except RevisionConflict:  # a repeat beside this one was first
            return await self.get(scope, session.id)

    async def ensure(
        self, scope: Scope, session_id: str, *, title: str = "", metadata: dict[str, JsonValue] | None = None
    ) -> tuple[Session, bool]:
        """Return the session and whether this call created it. Raises Closed, Invalid."""
        new = self._new(scope, title, "active", metadata)
        check_id(session_id, "session id")
        session, created = await retried(lambda: self._store.ensure_session(scope, session_id, new))
        if not created and _is_leftover(session):
            return await self._reveal(scope, session, new), True
        return session, created

    async def find(self, scope: Scope, session_id: str, *, include_trashed: bool = False) -> Session | None:
        """Return the session or None."""
        check_id(session_id, "session id")
        return await retried(lambda: self._store.find_session(scope, session_id, include_trashed=include_trashed))

    async def get(self, scope: Scope, session_id: str, *, include_trashed: bool = False) -> Session:
        """Return the session. Raises NotFound."""
        found = await self.find(scope, session_id, include_trashed=include_trashed)
        if found is None:
            raise NotFound("session", session_id)
        return found

    async def list(
        self, scope: Scope, where: SessionFilter, *, limit: int = 50, after: SessionPosition | None = None
    ) -> Page[Session, SessionPosition]:
        """Return a page of the scope's sessions: pinned first, then newest activity first."""
        check_limit(limit, MAX_LIST)
        return await retried(lambda: self._store.list_sessions(scope, where, limit=limit, after=after))

    async def update(
        self, scope: Scope, session_id: str, patch: SessionPatch, *, expected_revision: int | None = None
    ) -> Session:
        """Change settings. Raises NotFound, Closed, RevisionConflict, Invalid."""
        return await retried(
            lambda: self._store.update_session(scope, session_id, patch, expected_revision=expected_revision)
        )

    async def delete(self, scope: Scope, session_id: str) -> Session:
        """Put the session into the trash, from where it can be restored for as long as the policy says."""
        until = self._clock() + self._policies.of(scope.app).trash
        return await retried(lambda: self._store.trash_session(scope, session_id, until=until))

    async def restore(self, scope: Scope, session_id: str) -> Session:
        """Take the session out of the trash. Raises NotFound."""
        return await retried(lambda: self._store.restore_session(scope, session_id))

    async def purge(self, scope: Scope, session_id: str) -> Receipt:
        """Remove the session for good and return what was removed, nothing if another caller was faster.

        Raises NotFound.
        """
        found = await self.get(scope, session_id, include_trashed=True)
        try:
            return await retried(lambda: self._store.purge_session(scope, session_id, incarnation=found.incarnation))
        except NotFound:
            return Receipt({})

    async def erase(self, scope: Scope) -> Receipt:
        """Remove everything of the scope for good and return what was removed."""
        return await retried(lambda: self._store.erase_scope(scope))
