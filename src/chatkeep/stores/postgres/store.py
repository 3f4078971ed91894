"""The engine as a whole."""

from __future__ import annotations

from typing import Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from chatkeep.domain.errors import NotSupported
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.postgres.address import Address
from chatkeep.stores.postgres.engine import Connection
from chatkeep.stores.postgres.errors import translated
from chatkeep.stores.postgres.lease import Connections
from chatkeep.stores.postgres.log import PostgresLog
from chatkeep.stores.postgres.maintenance import PostgresMaintenance
from chatkeep.stores.postgres.records import bury, scope_names, stored_of
from chatkeep.stores.postgres.runs import PostgresRuns
from chatkeep.stores.postgres.schema import PACKAGE, check_version, migrate as migrate_schema
from chatkeep.stores.postgres.search import PostgresSearch
from chatkeep.stores.postgres.session import check_connections, told
from chatkeep.stores.postgres.sessions import PostgresSessions, PostgresStates
from chatkeep.stores.sql import load_queries

CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 30.0
_IDLE_IN_TRANSACTION = "30s"
_OLDEST = 150_000
"""PostgreSQL 15, as `server_version_num` says it."""


class PostgresStore(PostgresSessions, PostgresLog, PostgresStates, PostgresRuns, PostgresSearch, PostgresMaintenance):
    """The whole contract on one PostgreSQL schema, for any number of processes. See open_postgres."""

    release = ""

    @property
    def engine(self) -> str:
        return f"PostgreSQL {self.release}"

    async def erase_scope(self, scope: Scope) -> Receipt:
        receipt = Receipt({})
        while (begun := await self._write(lambda db: _begin_erasing(db, scope))) is not None:
            key, buried = begun
            receipt += buried + await self._empty_grave(key)
        for owner, session_id in list(self._known):
            if owner == scope:
                self._forget(owner, session_id)
        return receipt

    async def ping(self) -> None:
        await self._read(check_version)

    async def prepare(self, schema: str, *, migrate: bool) -> None:
        """Look whether this is the store that was wanted; make the tables, or bring them up to date, if asked to."""
        with translated():
            await check_connections(self._connections)
        self.release, number = await self._read(_version)
        if number < _OLDEST:
            raise NotSupported(f"Chatkeep needs PostgreSQL 15 or later, this is {self.release}")
        if migrate:
            await self._write(lambda db: migrate_schema(db, schema))
        await self.ping()

    async def close(self) -> None:
        self._known.clear()
        await self._connections.close()


async def _as_it_is(_connection: object) -> None:
    """Hand a connection on as it is: nothing of the store outlives its transaction."""


async def _version(db: Connection) -> tuple[str, int]:
    release: str = await db.raw.fetchval("SHOW server_version")
    return release.partition(" ")[0], int(await db.raw.fetchval("SHOW server_version_num"))


async def _begin_erasing(db: Connection, scope: Scope) -> tuple[int, Receipt] | None:
    """Bury one more session of the scope, or find an older grave; return its key, and what left with the record. When
    there is none, forget the scope itself.
    """
    owner = await db.row("find_scope", *scope_names(scope))
    if owner is None:
        return None
    grave = await db.row("grave_of_scope", owner[0])
    if grave is not None:
        return grave[0], Receipt({})
    row = await db.row("some_session_of_scope", owner[0])
    if row is not None:
        stored = stored_of(row)
        await bury(db, stored)
        return stored.key, Receipt({"sessions": 1})
    await db.run("delete_scope", owner[0])
    return None


async def open_postgres(
    address: Address, *, clock: Clock = system_clock, migrate: bool = True, statement_seconds: float = STATEMENT_SECONDS
) -> PostgresStore:
    """Open the tables at `address`, which are made if there are none.

    Without `migrate` an older schema is refused instead of brought up to date. A commit is on the server's disk before
    a call returns, whatever the database's own default is. Raises Unavailable, and NotSupported for a server before
    version 15, for tables of a newer release and behind a pooler in transaction mode.
    """
    settings = {
        "application_name": "chatkeep",
        "search_path": address.schema,
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
        "plan_cache_mode": "force_generic_plan",  # planning an append anew takes longer than doing it
        "jit": "off",
        "statement_timeout": str(int(statement_seconds * 1000)),
        "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION,
    }
    with translated():
        pool: asyncpg.Pool[Any] = await asyncpg.create_pool(
            address.dsn,
            min_size=0,  # or the driver keeps on trying, and logging, while the database is away
            max_size=address.pool,
            timeout=CONNECT_SECONDS,
            command_timeout=statement_seconds + 1,
            target_session_attrs=SessionAttribute.read_write,  # a standby would show what was, and write nothing
            init=told(settings),
            reset=_as_it_is,
        )
    store = PostgresStore(clock, Connections(pool, address.pool), load_queries(PACKAGE))
    try:
        await store.prepare(address.schema, migrate=migrate)
    except BaseException:
        await store.close()
        raise
    return store
