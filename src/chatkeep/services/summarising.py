"""The summaries of sessions as they are stored: one value beside each session, changed by compare-and-set."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from chatkeep.domain.errors import NotFound, RevisionConflict
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.domain.summaries import Summaries, above, from_bytes, to_bytes
from chatkeep.ports.store import State, Store
from chatkeep.services.retrying import retried

KEY = "context/summaries"
_ATTEMPTS = 20

_log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """Summaries, and the version under which they are stored; 0: they are not."""

    summaries: Summaries
    version: int


class SummaryShelf:
    """Reads and writes the value. What belongs to another incarnation, or cannot be read, counts as empty."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, scope: Scope, session: Session) -> Kept:
        """Return the session's summaries, without any that tell of a pruned message. Raises NotFound, StoreError."""
        return self._of(session, await retried(lambda: self._store.get_state(scope, session.id, KEY)))

    async def get_both(self, scope: Scope, session_id: str) -> tuple[Session, Kept]:
        """Return the session and its summaries, read at the same time. Raises NotFound, StoreError.

        An erasure that comes later than the summaries were read counts as one after whatever is made of them.
        """
        session, state = await asyncio.gather(
            retried(lambda: self._store.find_session(scope, session_id)),
            retried(lambda: self._store.get_state(scope, session_id, KEY)),
        )
        if session is None:
            raise NotFound("session", session_id)
        return session, self._of(session, state)

    def _of(self, session: Session, state: State | None) -> Kept:
        empty = Summaries(incarnation=session.incarnation)
        if state is None:
            return Kept(empty, 0)
        try:
            found = from_bytes(state.value)
        except ValueError:
            _log.warning("the stored summaries of a session cannot be read; they are made anew")
            return Kept(empty, state.version)
        if found.incarnation != session.incarnation:
            return Kept(empty, state.version)
        return Kept(above(found, session.first_seq), state.version)

    async def put(self, scope: Scope, session: Session, kept: Kept) -> Kept:
        """Store the summaries if nobody has changed them since `kept.version`.

        Raises RevisionConflict, NotFound (also for another incarnation), Closed, StoreError.
        """
        stored = await retried(
            lambda: self._store.put_state(
                scope,
                session.id,
                KEY,
                to_bytes(kept.summaries),
                expected_version=kept.version,
                incarnation=session.incarnation,
            )
        )
        return Kept(kept.summaries, stored.version)

    async def change(self, scope: Scope, session_id: str, step: Callable[[Summaries], Summaries]) -> None:
        """Apply `step` to what is stored, against any number of rivals. Raises NotFound, Closed, StoreError."""
        for attempt in range(_ATTEMPTS):
            session = await retried(lambda: self._store.find_session(scope, session_id))
            if session is None:
                raise NotFound("session", session_id)
            kept = await self.get(scope, session)
            changed = step(kept.summaries)
            if changed == kept.summaries:
                return
            try:
                await self.put(scope, session, Kept(changed, kept.version))
            except RevisionConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            return
