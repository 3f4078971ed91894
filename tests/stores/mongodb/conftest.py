"""Emulators of MongoDB, started once by the test session, and the engine on them.

The real server is in no package registry. Of those that speak its protocol, FerretDB 1.24 loses updates of a document
that two clients change at the same time, so it cannot stand for MongoDB; mongo-java-server does not.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex

import pytest
from tests.items import corrupt, counts, dump
from tests.servers import TOOLS, free_port, missing, wait_for

from chatkeep.domain.errors import Timeout, Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.items.tables import LOG, SESSIONS, WORK
from chatkeep.stores.mongodb import Address, MongoStore, open_mongodb
from chatkeep.testing import DriverFault
from chatkeep.testing.calls import say

_JARS = TOOLS / "mongo-java-server"


class Server:
    """An emulator on a port of its own; with a folder, it keeps its documents there."""

    def __init__(self, folder: Path | None = None) -> None:
        self.port = free_port()
        self._folder = folder

    def start(self) -> None:
        """Start it, and wait until it answers."""
        quick = [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx512m",
            "-cp",
            f"{_JARS.resolve()}/*:{_JARS.resolve()}",
        ]
        kept = [] if self._folder is None else [str(self._folder / "documents")]
        java = shutil.which("java") or "java"
        self._process = subprocess.Popen(
            [java, *quick, "Server", str(self.port), *kept], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self.port, self._process)

    def stop(self) -> None:
        """End it in order."""
        self._process.terminate()
        self._process.wait()

    def crash(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"


def check_installed() -> None:
    """Skip, or fail, without the emulator."""
    if shutil.which("java") is None or not (_JARS / "Server.class").is_file():
        missing("mongo-java-server")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Give a running emulator."""
    check_installed()
    server = Server()
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[MongoHarness]:
    harness = MongoHarness(url, f"t{token_hex(8)}")
    await harness.create()
    yield harness
    await harness.drop()


@pytest.fixture
def open_harness(server: Server) -> Callable[[], AbstractAsyncContextManager[MongoHarness]]:
    """Give what opens empty databases."""
    return partial(_opened, server.url)


@pytest.fixture
async def harness(
    open_harness: Callable[[], AbstractAsyncContextManager[MongoHarness]],
) -> AsyncIterator[MongoHarness]:
    """Give an empty database."""
    async with open_harness() as harness:
        yield harness


@asynccontextmanager
async def between(port: int, *, cut: bool) -> AsyncIterator[int]:
    """Give the port of a proxy before a server: from the first append on it lets nothing back, or cuts the wire."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_connection("127.0.0.1", port)
        back = asyncio.create_task(_pass(behind, writer))
        while data := await reader.read(65_536):
            if b"idempotency" in data or b"first words" in data:
                back.cancel()
                if cut:
                    break
            ahead.write(data)
        back.cancel()
        for end in (ahead, writer):
            end.close()

    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class MongoHarness:
    """A database of its own on a running server."""

    def __init__(self, url: str, database: str) -> None:
        self.address = Address(url, database)
        self._stores: list[MongoStore] = []

    async def create(self) -> None:
        self._raw = await open_mongodb(self.address)
        self._tasks = asyncio.all_tasks()

    async def drop(self) -> None:
        for store in self._stores:
            await store.close()
        await self._raw._client.drop_database(self.address.database)
        await self._raw.close()

    async def open(self, clock: Clock) -> MongoStore:
        store = await open_mongodb(self.address, clock=clock)
        self._stores.append(store)
        return store

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        await corrupt(self._raw, scope, session_id, seq)

    async def rows(self) -> Sequence[bytes]:
        database = self._raw._client[self.address.database]
        return [
            dump(document)
            for table in (SESSIONS, LOG, WORK)
            async for document in database[table].find()
            if counts(table, document)
        ]

    def leaks(self) -> Sequence[str]:
        return [repr(task) for task in asyncio.all_tasks() - self._tasks if task is not asyncio.current_task()]

    def driver_errors(self) -> Sequence[DriverFault]:
        return [
            DriverFault("nobody listens", self._where_nobody_listens, Unavailable),
            DriverFault("no answer", partial(self._append_through_a_proxy, cut=False), Timeout),
            DriverFault("the connection is cut", partial(self._append_through_a_proxy, cut=True), Timeout),
        ]

    async def _where_nobody_listens(self) -> None:
        await open_mongodb(Address(f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=300"))

    async def _append_through_a_proxy(self, *, cut: bool) -> None:
        port = int(self.address.url.rpartition(":")[2])
        async with between(port, cut=cut) as proxy:
            address = Address(f"mongodb://127.0.0.1:{proxy}", self.address.database)
            store = await open_mongodb(address, clock=system_clock, answer_seconds=0.5)
            try:
                await say(store, "first words")
            finally:
                await store.close()
