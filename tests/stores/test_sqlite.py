"""The SQLite store meets the contract."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock
from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.testing import DriverFault, StoreContract, StoreHarness


class SqliteHarness:
    """A file in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "chats.db"

    async def open(self, clock: Clock) -> SqliteStore:
        return await open_sqlite(self._path, clock=clock)

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        db = apsw.Connection(str(self._path))
        db.execute(
            "UPDATE messages SET body = CAST(body || '?' AS BLOB) WHERE key = ("
            " SELECT s.key << 32 | ? FROM sessions s JOIN scopes c ON c.key = s.scope"
            " WHERE s.id = ? AND (c.tenant, c.app, c.user) = (?, ?, ?))",
            (seq, session_id, scope.tenant, scope.app, scope.user),
        )
        db.close()

    async def rows(self) -> Sequence[bytes]:
        db = apsw.Connection(str(self._path))
        tables = ("sessions", "messages", "idempotency", "states", "runs", "run_requests", "run_events", "graves")
        found = [
            b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
            for table in tables
            for row in db.execute(f"SELECT * FROM {table}")  # noqa: S608 -- names from the line above
        ]
        db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab (main, search, row)")
        found += [term.encode() for (term,) in db.execute("SELECT term FROM terms")]
        db.close()
        return found

    def leaks(self) -> Sequence[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("chatkeep-sqlite")]

    def driver_errors(self) -> Sequence[DriverFault]:
        return []


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> StoreHarness:
        return SqliteHarness(tmp_path)
