"""Connections: what SQLite and which files are accepted, and how each connection is set up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from chatkeep.domain.errors import NotSupported
from chatkeep.stores.sqlite.forks import Held

MEMORY = ":memory:"
MIN_VERSION = (3, 51, 3)
"""Earlier releases can corrupt a WAL file that several connections write."""

PAGE_BYTES = 4096
BUSY_MS = 30_000
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"}
)
_NETWORK_FUSE = ("fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs", "fuse.ceph", "fuse.davfs", "fuse.gcsfuse")
_MOUNTS = Path("/proc/self/mounts")

Row = tuple[Any, ...]


class Database(Held):
    """One connection and the named statements. For one thread at a time."""

    def __init__(self, connection: apsw.Connection, queries: Mapping[str, str]) -> None:
        super().__init__()
        self.connection = connection
        self._execute = connection.execute
        self._queries = queries

    def give_up(self) -> None:
        with suppress(apsw.Error):
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self.connection.close(force=True)

    def run(self, name: str, values: Sequence[Any] = ()) -> None:
        """Execute a statement that returns nothing."""
        self._execute(self._queries[name], values)

    def row(self, name: str, values: Sequence[Any] = ()) -> Row | None:
        """Return the only row, None if there is none."""
        rows = self._execute(self._queries[name], values).fetchall()
        return rows[0] if rows else None

    def rows(self, name: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return all rows."""
        found: list[Row] = self._execute(self._queries[name], values).fetchall()
        return found

    def cursor(self, name: str, values: Sequence[Any] = ()) -> apsw.Cursor:
        """Return the rows one by one; to be used up, or dropped, before the transaction ends."""
        return self._execute(self._queries[name], values)

    def run_many(self, name: str, many: Sequence[Sequence[Any]]) -> None:
        """Execute a statement once for each of `many`."""
        self.connection.executemany(self._queries[name], many)

    def sql_many(self, statement: str, many: Sequence[Sequence[Any]]) -> None:
        """Execute a composed statement once for each of `many`."""
        self.connection.executemany(statement, many)

    def sql(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Execute a composed statement."""
        self._execute(statement, values)

    def changes(self) -> int:
        """Return how many rows the last statement changed."""
        return self.connection.changes()


def check_version(version: str) -> None:
    """Raise NotSupported for a release of SQLite that is not to be trusted with a file."""
    if tuple(map(int, version.split("."))) < MIN_VERSION:
        wanted = ".".join(map(str, MIN_VERSION))
        raise NotSupported(
            f"SQLite {version} can corrupt a database that several connections write; Chatkeep needs {wanted} or "
            "newer: upgrade apsw (pip install --upgrade apsw), which brings its own"
        )


def _unescaped(point: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, char)
    return point


def mounted(path: Path, mounts: str) -> tuple[str, str]:
    """Return where the file system that holds `path` is mounted, and its type, by a table of mounts; empty texts if the
    table does not say.
    """
    target = os.path.realpath(path)
    best, found = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        point = _unescaped(fields[1]) if len(fields) > 2 else ""  # noqa: PLR2004 -- device, mount point, type
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if point and inside and len(point) >= len(best):
            best, found = point, fields[2]
    return best, found


def check_file_system(path: Path, mounts: str | None = None) -> None:
    """Raise NotSupported if `path` lies on a network file system, where locks and shared memory cannot be relied on, or
    is mounted by itself, as containers can do, where its log would be left behind or be another one for others.

    `mounts` is the text of /proc/self/mounts; without such a file nothing is known and nothing refused.
    """
    if mounts is None:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape") if _MOUNTS.exists() else ""
    point, kind = mounted(path, mounts)
    if kind in _NETWORK or kind.startswith(_NETWORK_FUSE):
        raise NotSupported(
            f"{str(path)!r} lies on a network file system ({kind}), which can corrupt an SQLite database; "
            "use a local disk, or an engine with a server"
        )
    if point == os.path.realpath(path):
        raise NotSupported(
            f"{str(path)!r} is mounted as a single file, without the folder in which SQLite keeps its log beside it; "
            "mount the folder instead"
        )


def connect(path: str, *, synchronous: str, cache_kib: int) -> apsw.Connection:
    """Return a connection with everything set but the journal mode. Raises the driver's errors."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
    connection = apsw.Connection(path, flags, statementcachesize=128)
    try:
        connection.set_busy_timeout(BUSY_MS)
        connection.wal_autocheckpoint(0)
        connection.pragma("synchronous", synchronous)
        connection.pragma("secure_delete", "ON")
        connection.pragma("cache_size", -cache_kib)
        connection.pragma("temp_store", "MEMORY")
        connection.pragma("trusted_schema", "OFF")
        connection.pragma("journal_size_limit", 64 * 1024 * 1024)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        # Plans that look at bound values are made anew at every execution, which costs more than the lookups here.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    except apsw.Error:
        connection.close(force=True)
        raise
    return connection
