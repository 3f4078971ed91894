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
from chatkeep.stores.postgres.engine import Connection
from chatkeep.stores.postgres.log import sweep_session
from chatkeep.stores.postgres.records import bury, find, scope_names
from chatkeep.stores.postgres.removal import Graves, remove_some
from chatkeep.stores.postgres.runs import sweep_events
from chatkeep.stores.postgres.schema import facts
from chatkeep.stores.postgres.search import index_session
from chatkeep.stores.postgres.texts import told


def _scope(names: Sequence[str]) -> Scope:
    return Scope(*map(told, names))


class PostgresMaintenance(Graves):
    """The side of the janitor and the command line."""

    async def iter_scopes(self, *, after: Scope | None = None, limit: int = 100) -> Sequence[Scope]:
        check_limit(limit, MAX_READ)
        behind = ("", "", "") if after is None else scope_names(after)
        rows = await self._read(lambda db: db.rows("scopes_after", *behind, limit))
        return [_scope(row) for row in rows]

    async def count_sessions(self, *, most: int = 10_000) -> int:
        row = await self._read(lambda db: db.row("count_sessions", to_ms(self._clock()), most))
        return 0 if row is None else int(row[0])

    async def due_sessions(self, *, limit: int = 100) -> Sequence[tuple[Scope, str, str]]:
        check_limit(limit, MAX_READ)
        rows = await self._read(lambda db: db.rows("gone_sessions", to_ms(self._clock()), limit))
        return [(_scope(names), told(session_id), incarnation) for *names, session_id, incarnation in map(tuple, rows)]

    async def purge_gone(self, scope: Scope, session_id: str, incarnation: str) -> Receipt:
        async def purge(db: Connection) -> int | None:
            stored = await find(db, scope, session_id, lock=True)
            if stored is None or stored.session.incarnation != incarnation:
                return None
            if not is_gone(stored.session, self._clock()):
                return None
            await bury(db, stored)
            return stored.key

        key = await self._write(purge)
        self._forget(scope, session_id)
        return Receipt({}) if key is None else Receipt({"sessions": 1}) + await self._empty_grave(key)

    async def expired_runs(self, *, limit: int = 100) -> Sequence[tuple[Scope, str]]:
        check_limit(limit, MAX_READ)
        now = self._clock()
        rows = await self._read(lambda db: db.rows("expired_runs", to_ms(now), to_us(now), limit))
        return [(_scope(names), told(run_id)) for *names, run_id in map(tuple, rows)]

    async def sweep(self, *, events_before: datetime, limit: int = 1_000) -> int:
        check_moment(events_before, "events_before")
        check_limit(limit, MAX_READ)
        return await self._write(lambda db: _sweep(db, to_us(events_before), limit))

    async def schema(self) -> Mapping[str, str]:
        return await self._read(facts)


async def _sweep(db: Connection, events_before_us: int, limit: int) -> int:
    """Remove one kind of leftover after the other, up to about `limit` rows in one transaction."""
    removed = 0
    while removed < limit and (grave := await db.row("some_grave")) is not None:
        receipt = await remove_some(db, grave[0], limit - removed)
        removed += 0 if receipt is None else sum(receipt.removed.values())
    while removed < limit and (unswept := await db.row("some_unswept")) is not None:
        removed += await sweep_session(db, unswept[0], limit - removed)
    for (run,) in await db.rows("finished_runs", events_before_us, limit):
        if removed >= limit:
            break
        removed += await sweep_events(db, run, limit - removed)
    if removed == 0:
        for (key,) in await db.rows("some_search_due", 1):
            removed += await index_session(db, key, limit)
    return removed
