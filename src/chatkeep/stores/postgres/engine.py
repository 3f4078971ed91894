"""What all parts of the store stand on: a clock, a pool of connections, and transactions.

**The scheme.** Whoever changes a session holds the lock of its row, so all changes of one session are in one order. A
change of it gives the row another number, `changed`. An append needs no lock of its own: it computes the record that
follows from the last one this process knows, and writes it, with the messages, in one statement IF the row still has
the number of that record. Otherwise, and for everything else, it takes the lock and looks.

Locks are taken in one order, sessions before runs. Where two calls wait for each other all the same, the database ends
one of them, which is repeated.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

from chatkeep.domain.errors import Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock
from chatkeep.stores.endings import Endings
from chatkeep.stores.postgres.errors import translated
from chatkeep.stores.postgres.lease import Connections
from chatkeep.stores.postgres.records import Stored
from chatkeep.stores.races import Raced, undisturbed

Result = TypeVar("Result")
Row: TypeAlias = Any
"""A record of the driver: a sequence of values."""

_KNOWN_SESSIONS = 10_000


class Connection:
    """One connection of the pool, with the statements of the store by name."""

    def __init__(self, raw: Any, queries: Mapping[str, str]) -> None:
        self.raw = raw
        self._queries = queries

    async def row(self, name: str, *values: object) -> Row | None:
        """Return the first row of a statement, None if there is none."""
        return await self.raw.fetchrow(self._queries[name], *values)

    async def one(self, name: str, *values: object) -> Row:
        """Return the row of a statement that cannot fail to have one."""
        row = await self.row(name, *values)
        if row is None:
            raise AssertionError(f"{name} returns its row")
        return row

    async def rows(self, name: str, *values: object) -> list[Row]:
        """Return all rows of a statement."""
        found: list[Row] = await self.raw.fetch(self._queries[name], *values)
        return found

    async def run(self, name: str, *values: object) -> int:
        """Run a statement and return how many rows it changed."""
        done: str = await self.raw.execute(self._queries[name], *values)
        return int(done.rpartition(" ")[2])


class Engine:
    """The pool of an open database, and what is known of sessions: records as they were when this process saw them."""

    def __init__(self, clock: Clock, connections: Connections, queries: Mapping[str, str]) -> None:
        self._clock = clock
        self._connections = connections
        self._queries = queries
        self._known: OrderedDict[tuple[Scope, str], Stored] = OrderedDict()
        self._endings = Endings()

    def _remember(self, scope: Scope, stored: Stored) -> None:
        key = (scope, stored.session.id)
        self._known[key] = stored
        self._known.move_to_end(key)
        if len(self._known) > _KNOWN_SESSIONS:
            self._known.popitem(last=False)

    def _learn(self, scope: Scope, stored: Stored) -> None:
        """Remember what a read showed, unless a newer record is known."""
        known = self._known.get((scope, stored.session.id))
        if known is None or known.changed < stored.changed:
            self._remember(scope, stored)

    def _forget(self, scope: Scope, session_id: str) -> None:
        """Keep nothing of a purged session in memory."""
        self._known.pop((scope, session_id), None)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._connections.one() as raw:
            yield Connection(raw, self._queries)

    async def _read(self, call: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Return what `call`, of one statement, reads."""
        try:
            with translated():
                raw = await self._connections.take()
                try:
                    return await call(Connection(raw, self._queries))
                finally:
                    await self._connections.give(raw)
        except Raced as error:  # a standby that had to end the statement
            raise Unavailable("the database gave up a statement for another one; try again") from error

    async def _look(self, call: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Return what `call` reads, all of it as of one moment."""
        return await self._endings.of(self._looked(call))

    async def _looked(self, call: Callable[[Connection], Awaitable[Result]]) -> Result:
        with translated():
            async with self._connection() as db, db.raw.transaction(isolation="repeatable_read", readonly=True):
                return await call(db)

    async def _write(self, call: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Return what `call` does in a transaction; repeated while others are faster. It goes on to its end though the
        caller is cancelled: a driver that is cancelled again while it undoes one leaves the connection inside of it.

        Raises Unavailable after very many tries.
        """
        return await self._endings.of(self._written(call))

    async def _written(self, call: Callable[[Connection], Awaitable[Result]]) -> Result:
        async def attempt() -> Result:
            with translated():
                async with self._connection() as db, db.raw.transaction():
                    return await call(db)

        return await undisturbed(attempt)
