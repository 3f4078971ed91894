"""The unscoped side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import to_us
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import is_gone, to_ms
from chatkeep.stores.checks import check_moment
from chatkeep.stores.sqlite.connection import Database
from chatkeep.stores.sqlite.engine import Engine
from chatkeep.stores.sqlite.log import sweep_session
from chatkeep.stores.sqlite.records import find, scope_names
from chatkeep.stores.sqlite.removal import bury, remove_some, scrub_search
from chatkeep.stores.sqlite.runs import sweep_events
from chatkeep.stores.sqlite.schema import facts
from chatkeep.stores.sqlite.transaction import Write


class SqliteMaintenance(Engine):
    """The side of the janitor and the command line."""

    async def iter_scopes(self, *, after: Scope | None = None, limit: int = 100) -> Sequence[Scope]:
        check_limit(limit, MAX_READ)
        behind = ("", "", "") if after is None else scope_names(after)
        return await self._search(lambda db: [Scope(*row) for row in db.rows("scopes_after", (*behind, limit))])

    async def count_sessions(self, *, most: int = 10_000) -> int:
        def count(db: Database) -> int:
            row = db.row("count_sessions", (to_ms(self._clock()), most))
            return 0 if row is None else row[0]

        return await self._search(count)

    async def due_sessions(self, *, limit: int = 100) -> Sequence[tuple[Scope, str, str]]:
        check_limit(limit, MAX_READ)

        def due(db: Database) -> list[tuple[Scope, str, str]]:
            rows = db.rows("gone_sessions", (to_ms(self._clock()), limit))
            return [(Scope(*names), session_id, incarnation) for *names, session_id, incarnation in rows]

        return await self._search(due)

    async def purge_gone(self, scope: Scope, session_id: str, incarnation: str) -> Receipt:
        def purge(write: Write) -> int | None:
            stored = find(write.db, scope, session_id)
            if stored is None or stored.session.incarnation != incarnation:
                return None
            if not is_gone(stored.session, self._clock()):
                return None
            bury(write, stored)
            return stored.key

        key = await self._write(purge)
        return Receipt({}) if key is None else Receipt({"sessions": 1}) + await self._empty_grave(key)

    async def expired_runs(self, *, limit: int = 100) -> Sequence[tuple[Scope, str]]:
        check_limit(limit, MAX_READ)

        def expired(db: Database) -> list[tuple[Scope, str]]:
            now = self._clock()
            rows = db.rows("expired_runs", (to_us(now), to_ms(now), limit))
            return [(Scope(*names), run_id) for *names, run_id in rows]

        return await self._search(expired)

    async def sweep(self, *, events_before: datetime, limit: int = 1_000) -> int:
        check_moment(events_before, "events_before")
        check_limit(limit, MAX_READ)
        return await self._write(lambda write: _sweep(write, to_us(events_before), limit))

    async def schema(self) -> Mapping[str, str]:
        return await self._search(facts)


def _sweep(write: Write, events_before_us: int, limit: int) -> int:
    """Remove one kind of leftover after the other, up to about `limit` rows in one transaction."""
    db, removed = write.db, 0
    while removed < limit and (grave := db.row("some_grave")) is not None:
        receipt = remove_some(write, grave[0], limit - removed)
        removed += 0 if receipt is None else sum(receipt.removed.values())
    while removed < limit and (unswept := db.row("some_unswept")) is not None:
        removed += sweep_session(write, unswept[0], limit - removed)
    for (run,) in db.rows("finished_runs", (events_before_us, limit)):
        if removed >= limit:
            break
        removed += sweep_events(write, run, limit - removed)
    if removed == 0 and scrub_search(write):
        removed = 1
    return removed
