"""The unscoped side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import is_gone
from chatkeep.stores.checks import check_moment
from chatkeep.stores.memory.runs import MemoryRuns
from chatkeep.stores.memory.tables import Shelf


def _order(scope: Scope) -> tuple[bytes, bytes, bytes]:
    return (scope.tenant.encode(), scope.app.encode(), scope.user.encode())


class MemoryMaintenance(MemoryRuns):
    """Rows below `first_seq` and those of purged sessions go at once here, so that only events are ever swept."""

    async def iter_scopes(self, *, after: Scope | None = None, limit: int = 100) -> Sequence[Scope]:
        check_limit(limit, MAX_READ)
        scopes = sorted(self._open().shelves, key=_order)
        return [scope for scope in scopes if after is None or _order(scope) > _order(after)][:limit]

    async def count_sessions(self, *, most: int = 10_000) -> int:
        now = self._clock()
        live = (
            shelf
            for shelves in self._open().shelves.values()
            for shelf in shelves.values()
            if not shelf.record.hidden and shelf.record.state != "trashed" and not is_gone(shelf.record, now)
        )
        return sum(1 for _ in islice(live, most))

    def _gone(self) -> Iterator[tuple[Scope, Shelf]]:
        now = self._clock()
        for scope, shelves in self._open().shelves.items():
            for shelf in shelves.values():
                if is_gone(shelf.record, now):
                    yield scope, shelf

    async def due_sessions(self, *, limit: int = 100) -> Sequence[tuple[Scope, str, str]]:
        check_limit(limit, MAX_READ)
        return [(scope, shelf.record.id, shelf.record.incarnation) for scope, shelf in islice(self._gone(), limit)]

    async def purge_gone(self, scope: Scope, session_id: str, incarnation: str) -> Receipt:
        shelf = self._open().shelves.get(scope, {}).get(session_id)
        if shelf is None or shelf.record.incarnation != incarnation or not is_gone(shelf.record, self._clock()):
            return Receipt({})
        return self._discard(scope, shelf)

    async def expired_runs(self, *, limit: int = 100) -> Sequence[tuple[Scope, str]]:
        check_limit(limit, MAX_READ)
        now = self._clock()
        expired = (
            (scope, run_id)
            for scope, runs in self._open().runs.items()
            for run_id, stored in runs.items()
            if not stored.run.is_over
            and now >= stored.run.lease_until
            and stored.shelf.record.state != "trashed"
            and not is_gone(stored.shelf.record, now)
        )
        return list(islice(expired, limit))

    async def sweep(self, *, events_before: datetime, limit: int = 1_000) -> int:
        check_moment(events_before, "events_before")
        check_limit(limit, MAX_READ)
        removed = 0
        for runs in self._open().runs.values():
            for stored in runs.values():
                finished_at = stored.run.finished_at
                if removed < limit and finished_at is not None and finished_at < events_before:
                    removed += self._drop(stored)
        return removed

    async def schema(self) -> Mapping[str, str]:
        self._open()
        return {"version": "1", "wanted": "1"}
