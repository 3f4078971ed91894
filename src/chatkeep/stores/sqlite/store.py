"""The engine as a whole."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import apsw

from chatkeep.domain.errors import ChatkeepError, Unavailable
from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.sql import load_queries
from chatkeep.stores.sqlite.connection import (
    MEMORY,
    PAGE_BYTES,
    Database,
    check_file_system,
    check_version as check_sqlite,
    connect,
)
from chatkeep.stores.sqlite.errors import translated
from chatkeep.stores.sqlite.forks import opening
from chatkeep.stores.sqlite.indexing import index_some
from chatkeep.stores.sqlite.lock import PRIVATE, WriteTurn
from chatkeep.stores.sqlite.log import SqliteLog
from chatkeep.stores.sqlite.maintenance import SqliteMaintenance
from chatkeep.stores.sqlite.place import Place
from chatkeep.stores.sqlite.reader import Reader
from chatkeep.stores.sqlite.records import scope_names, stored_of
from chatkeep.stores.sqlite.removal import bury
from chatkeep.stores.sqlite.runs import SqliteRuns
from chatkeep.stores.sqlite.schema import PACKAGE, check_version, is_new, migrate as migrate_schema, prepare_search
from chatkeep.stores.sqlite.search import SqliteSearch
from chatkeep.stores.sqlite.sessions import SqliteSessions, SqliteStates
from chatkeep.stores.sqlite.transaction import Write
from chatkeep.stores.sqlite.writer import Writer

Synchronous = Literal["FULL", "NORMAL", "OFF"]

_WRITER_CACHE_KIB = 8 * 1024
_READER_CACHE_KIB = 8 * 1024


class SqliteStore(SqliteSessions, SqliteLog, SqliteStates, SqliteRuns, SqliteSearch, SqliteMaintenance):
    """The whole contract on one SQLite file, for any number of event loops, processes and handles. See open_sqlite."""

    @property
    def engine(self) -> str:
        return f"SQLite {apsw.sqlite_lib_version()}"

    async def erase_scope(self, scope: Scope) -> Receipt:
        receipt = Receipt({})
        while (begun := await self._write(lambda write: _begin_erasing(write, scope))) is not None:
            key, buried = begun
            receipt += buried + await self._empty_grave(key)
        return receipt

    async def ping(self) -> None:
        self._writer.check_place()
        await self._read(check_version)

    async def close(self) -> None:
        for lane in (self._reader, self._searcher, self._writer):
            if lane is not None:
                await lane.close()


def _begin_erasing(write: Write, scope: Scope) -> tuple[int, Receipt] | None:
    """Bury one more session of the scope, or find an older grave; return its key, and what left with the record. When
    there is none, forget the scope itself.
    """
    db = write.db
    owner = db.row("find_scope", scope_names(scope))
    if owner is None:
        return None
    grave = db.row("grave_of_scope", owner[:1])
    if grave is not None:
        return grave[0], Receipt({})
    row = db.row("some_session_of_scope", owner[:1])
    if row is not None:
        stored = stored_of(row)
        bury(write, stored)
        return stored.key, Receipt({"sessions": 1})
    db.run("delete_scope", owner[:1])
    write.wipe()
    return None


async def open_sqlite(
    path: Path | str,
    *,
    clock: Clock = system_clock,
    search: bool = True,
    synchronous: Synchronous = "FULL",
    migrate: bool = True,
) -> SqliteStore:
    """Open the database at `path`, or one in memory for `:memory:`, creating the file and its folder if it is new.

    `search` keeps a full-text index; all that share a file give the same value, for a change of it drops or rebuilds
    the index. `synchronous` other than FULL can lose acknowledged writes when the machine, not just the process, fails.
    Without `migrate` an older schema is refused instead of brought up to date.

    Raises NotSupported for an SQLite or a file system that is not to be trusted, and for a file of another program or
    of a newer release; Unavailable.
    """
    try:
        writer, turn, place, readers = await asyncio.to_thread(
            _open, str(path), search=search, synchronous=synchronous, migrate=migrate
        )
    except apsw.Error as error:
        raise translated(error) from error
    lanes = [Reader(db, name) for db, name in zip(readers, ("reader", "searcher"), strict=False)]
    return SqliteStore(clock, Writer(writer, turn, place, search=search, index=index_some), *(lanes or (None, None)))


def _open(
    path: str, *, search: bool, synchronous: Synchronous, migrate: bool
) -> tuple[Database, WriteTurn | None, Place | None, list[Database]]:
    """Return the connection that writes, the turn to write, the place of the file, the connections that read."""
    with opening:
        return _open_now(path, search=search, synchronous=synchronous, migrate=migrate)


def _open_now(
    path: str, *, search: bool, synchronous: Synchronous, migrate: bool
) -> tuple[Database, WriteTurn | None, Place | None, list[Database]]:
    check_sqlite(apsw.sqlite_lib_version())
    queries = load_queries(PACKAGE)
    if path == MEMORY:
        db = Database(connect(path, synchronous=synchronous, cache_kib=_WRITER_CACHE_KIB), queries)
        migrate_schema(db)
        prepare_search(db, search=search)
        return db, None, None, []
    file = Path(path).absolute()
    check_file_system(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
        turn = WriteTurn(file)
    except OSError as error:
        raise Unavailable(f"{path!r} cannot be opened: {error.strerror}; check the path and its rights") from error
    opened: list[Database] = []
    try:
        turn.acquire()
        try:
            opened.append(Database(connect(str(file), synchronous=synchronous, cache_kib=_WRITER_CACHE_KIB), queries))
            _prepare(opened[0], path, search=search, migrate=migrate)
        finally:
            turn.release()
        for cache_kib in (_READER_CACHE_KIB, _READER_CACHE_KIB):
            opened += [Database(connect(str(file), synchronous=synchronous, cache_kib=cache_kib), queries)]
        place = Place(opened[0].connection)
    except (apsw.Error, ChatkeepError):
        for db in opened:
            db.connection.close(force=True)
        turn.close()
        raise
    return opened[0], turn, place, opened[1:]


def _prepare(db: Database, path: str, *, search: bool, migrate: bool) -> None:
    """Make the file one of this release. With the turn to write, so that nobody else does the same."""
    new = is_new(db, path)
    if new:
        db.connection.pragma("page_size", PAGE_BYTES)
    if db.connection.pragma("journal_mode", "wal") != "wal":
        raise Unavailable(f"{path!r} cannot be opened in WAL mode; use a local disk")
    if new or migrate:
        migrate_schema(db)
    check_version(db)
    prepare_search(db, search=search)
