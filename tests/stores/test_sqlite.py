"""The SQLite store meets the contract."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from chatkeep.domain.errors import CorruptRecord, StoreError, Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.testing import DriverFault, SearchContract, StoreContract, StoreHarness
from chatkeep.testing.calls import say
from chatkeep.testing.machine import run_in_lockstep

PARTS = 2

_TABLES = ("sessions", "messages", "idempotency", "states", "runs", "run_requests", "run_events", "graves")


class SqliteHarness:
    """A file in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "chats.db"

    async def open(self, clock: Clock) -> SqliteStore:
        return await open_sqlite(self._path, clock=clock)

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        db = apsw.Connection(str(self._path))
        db.set_busy_timeout(30_000)  # the store may be at its search index
        with db:
            db.execute(
                "UPDATE messages SET body = CAST(body || '?' AS BLOB) WHERE key = ("
                " SELECT s.key << 32 | ? FROM sessions s JOIN scopes c ON c.key = s.scope"
                " WHERE s.id = ? AND (c.tenant, c.app, c.user) = (?, ?, ?))",
                (seq, session_id, scope.tenant, scope.app, scope.user),
            )
        db.close()

    async def rows(self) -> Sequence[bytes]:
        db = apsw.Connection(str(self._path))
        found = [
            b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
            for table in _TABLES
            for row in db.execute(f"SELECT * FROM {table}")  # noqa: S608 -- the names above
        ]
        db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab (main, search, row)")
        found += [term.encode() for (term,) in db.execute("SELECT term FROM terms")]
        db.close()
        return found

    def leaks(self) -> Sequence[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("chatkeep-sqlite")]

    def driver_errors(self) -> Sequence[DriverFault]:
        return [
            DriverFault("the disk is full", self._append_to_a_full_disk, Unavailable),
            DriverFault("another program holds the lock", self._append_to_a_locked_file, Unavailable),
            DriverFault("a table is missing", self._append_without_a_table, StoreError),
            DriverFault("the file is damaged", self._open_a_damaged_file, CorruptRecord),
        ]

    async def _append_to_a_full_disk(self) -> None:
        async with self._opened() as store:
            await store._write(lambda write: write.db.connection.pragma("max_page_count", 1))
            await say(store, "too much" * 10_000)

    async def _append_to_a_locked_file(self) -> None:
        async with self._opened() as store:
            await store._write(lambda write: write.db.connection.set_busy_timeout(1))
            other = apsw.Connection(str(self._path))
            other.execute("BEGIN IMMEDIATE")
            try:
                await say(store, "one")
            finally:
                other.close()

    async def _append_without_a_table(self) -> None:
        async with self._opened() as store:
            await store._write(lambda write: write.db.sql("DROP TABLE idempotency"))
            await say(store, "one")

    async def _open_a_damaged_file(self) -> None:
        async with self._opened():
            pass
        content = self._path.read_bytes()
        self._path.write_bytes(content[:200] + b"?" * (len(content) - 200))
        await self.open(system_clock)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[SqliteStore]:
        store = await self.open(system_clock)
        try:
            yield store
        finally:
            await store.close()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> StoreHarness:
        return SqliteHarness(tmp_path)


class TestSqliteSearch(SearchContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> StoreHarness:
        return SqliteHarness(tmp_path)


@asynccontextmanager
async def _file() -> AsyncIterator[StoreHarness]:
    with tempfile.TemporaryDirectory() as folder:
        yield SqliteHarness(Path(folder))


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_sqlite_store_in_lockstep_with_the_memory_store(part: int) -> None:
    run_in_lockstep(_file, part=(part, PARTS))
