"""Sessions: create, find, change, delete."""

from __future__ import annotations

from datetime import timedelta

from chatkeep.domain.errors import NotFound
from chatkeep.domain.ids import check_id, new_id
from chatkeep.domain.limits import MAX_LIST, check_limit
from chatkeep.domain.messages import JsonValue
from chatkeep.domain.pages import Page, Receipt, SessionFilter, SessionPosition
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, SessionPatch, SettableState
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import Store
from chatkeep.services.retrying import retried


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
        return await retried(lambda: self._store.create_session(scope, wanted, new))

    async def ensure(
        self, scope: Scope, session_id: str, *, title: str = "", metadata: dict[str, JsonValue] | None = None
    ) -> tuple[Session, bool]:
        """Return the session and whether this call created it. Raises Closed, Invalid."""
        new = self._new(scope, title, "active", metadata)
        check_id(session_id, "session id")
        return await retried(lambda: self._store.ensure_session(scope, session_id, new))

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
