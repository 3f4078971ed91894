"""Failovers: a master dies whose replicas have not heard of its newest writes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import ConnectionError as RedisConnectionError, Redis
from tests.faults.reading import whole
from tests.faults.scale import scaled, tell
from tests.servers import free_port, missing, wait_for
from tests.stores.redis.conftest import VALKEY, Server

from chatkeep.domain.errors import StoreError
from chatkeep.stores.redis import Address, RedisStore, open_redis
from chatkeep.testing.calls import ALICE, NEW, say

FAILOVERS = scaled(2, 20)
SECONDS_BETWEEN = scaled(2, 25)
CUT_SECONDS = 0.5
BACK_SECONDS = 10.0
CLIENTS = 8
MASTER = "chats"
_DOWN_AFTER_MS = 2_000
"""Sentinels ask a new master after a second for the first time: with less than two they may take it for dead already,
and behind a second failover no replica follows for 8 seconds.
"""
_FAILOVER_TIMEOUT_MS = 2_000
"""When their votes split, sentinels vote again after twice that; by default, after minutes."""
_QUORUM = 2

pytestmark = [
    pytest.mark.timeout(scaled(180, 3_600)),
    # The driver leaves a connection to the collector when the server closes it while the two introduce themselves.
    pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed Connection:ResourceWarning"),
]


class Node:
    """A server that everybody meets through a proxy, which can cut the wires of its replicas alone."""

    def __init__(self, folder: Path) -> None:
        self.proxy_port = free_port()
        announced = ("--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(self.proxy_port))
        self.server = Server(VALKEY, folder, "--repl-diskless-sync-delay", "0", "--repl-timeout", "60", *announced)
        self.is_cut = False
        self._relays: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self) -> asyncio.Server:
        """Listen for clients, sentinels and replicas."""
        return await asyncio.start_server(self._meet, "127.0.0.1", self.proxy_port)

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        relay = asyncio.create_task(self._relay(reader, writer))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        relay.add_done_callback(lambda _: writer.close())

    async def hang_up(self) -> None:
        """End all connections, those that were accepted just now too."""
        await asyncio.sleep(0.1)
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # closed, it would wait until somebody has read the rest
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server.port)
        except OSError:
            return
        self._writers.add(to_server)
        is_replica = False

        async def there() -> None:
            nonlocal is_replica
            while chunk := await reader.read(65_536):
                is_replica = is_replica or b"PSYNC" in chunk
                if not (is_replica and self.is_cut):
                    to_server.write(chunk)
                    await to_server.drain()

        async def back() -> None:
            while chunk := await from_server.read(65_536):
                if not (is_replica and self.is_cut):
                    writer.write(chunk)
                    await writer.drain()

        ways = [asyncio.create_task(there()), asyncio.create_task(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_server.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


class Group:
    """A master, two replicas, and three sentinels that watch them."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Node(folder / f"node{at}") for at in range(3)]
        self._folder = folder
        self._sentinels: list[tuple[int, subprocess.Popen[bytes]]] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port, _ in self._sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}"

    def start(self) -> None:
        """Start everything, and wait until all know each other."""
        master, *replicas = self.nodes
        for node in self.nodes:
            node.server.start()
        for node in replicas:
            with node.server.raw() as raw:
                raw.replicaof("127.0.0.1", master.proxy_port)
        for at in range(3):
            port = free_port()
            settings = self._folder / f"sentinel{at}.conf"
            settings.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nlogfile sentinel{at}.log\n"
                f"sentinel monitor {MASTER} 127.0.0.1 {master.proxy_port} {_QUORUM}\n"
                f"sentinel down-after-milliseconds {MASTER} {_DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {MASTER} {_FAILOVER_TIMEOUT_MS}\n"
            )
            process = subprocess.Popen(
                [str(VALKEY), str(settings), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            wait_for(port, process)
            self._sentinels.append((port, process))
        self._wait_for_all()

    def stop(self) -> None:
        """End everything."""
        for _, process in self._sentinels:
            process.kill()
            process.wait()
        for node in self.nodes:
            node.server.crash()

    def _known(self, port: int) -> dict[str, object]:
        with Redis(port=port, decode_responses=True) as raw:
            return dict(raw.sentinel_master(MASTER))

    def _wait_for_all(self, seconds: float = 40) -> None:
        """Wait until every sentinel sees two replicas that follow, and the other sentinels."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            known = [self._known(port) for port, _ in self._sentinels]
            if all(one["num-other-sentinels"] == _QUORUM and one["num-slaves"] == _QUORUM for one in known):
                master = self.master()
                if master is not None and _is_followed(master):
                    return
            time.sleep(0.1)
        raise RuntimeError("the sentinels do not find each other")

    def master(self) -> Node | None:
        """Return the node that the sentinels take for the master; None while they name another port."""
        port = self._known(self._sentinels[0][0])["port"]
        return next((node for node in self.nodes if node.proxy_port == port), None)

    async def fail_over(self) -> None:
        """Cut the wires between the master and its replicas, let it go on for a moment, and kill it."""
        master = await asyncio.to_thread(self.master)
        if master is None:
            raise RuntimeError("the sentinels know no master")
        master.is_cut = True
        await asyncio.sleep(CUT_SECONDS)
        await asyncio.to_thread(master.server.crash)
        deadline = time.monotonic() + BACK_SECONDS
        while await asyncio.to_thread(self.master) in (master, None):
            if time.monotonic() > deadline:
                raise RuntimeError("the sentinels have made no other server the master")
            await asyncio.sleep(0.1)
        master.is_cut = False
        await asyncio.to_thread(master.server.start)
        await asyncio.to_thread(self._wait_for_all)


def _is_followed(master: Node) -> bool:
    """Return whether both replicas have all that the master has."""
    with contextlib.suppress(RedisConnectionError), master.server.raw() as raw:
        followers = raw.info("replication")["connected_slaves"]
        return bool(followers == _QUORUM and raw.wait(_QUORUM, 500) == _QUORUM)
    return False


@asynccontextmanager
async def _group(folder: Path) -> AsyncIterator[Group]:
    if not VALKEY.is_file():
        missing("valkey")
    group = Group(folder)
    proxies = [await node.serve() for node in group.nodes]
    await asyncio.to_thread(group.start)
    try:
        yield group
    finally:
        await asyncio.to_thread(group.stop)
        for proxy, node in zip(proxies, group.nodes, strict=True):
            proxy.close()
            await node.hang_up()


class Outcome:
    """What clients were told, what is stored, and how long nobody was served."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, list[str]] = {client: [] for client in range(CLIENTS)}
        self.stored: dict[int, list[str]] = {}
        self.longest_pause_seconds = 0.0

    @property
    def lost(self) -> int:
        """How many acknowledged messages are not there."""
        return sum(len(set(texts) - set(self.stored[client])) for client, texts in self.acknowledged.items())


async def _client(store: RedisStore, client: int, done: asyncio.Event, outcome: Outcome) -> None:
    at, last = 0, time.monotonic()
    while not done.is_set():
        try:
            await say(store, f"{client} {at}", session=f"s{client}", key=f"{at}")
        except StoreError as error:
            if not error.is_temporary:
                raise
            await asyncio.sleep(0.02)
            continue
        outcome.acknowledged[client].append(f"{client} {at}")
        at += 1
        outcome.longest_pause_seconds = max(outcome.longest_pause_seconds, time.monotonic() - last)
        last = time.monotonic()


async def _through_failovers(folder: Path, *, replicas: int) -> Outcome:
    outcome, done = Outcome(), asyncio.Event()
    async with _group(folder) as group:
        store = await open_redis(Address.of_url(f"{group.url}?replicas={replicas}"), answer_seconds=1.0)
        for client in range(CLIENTS):
            await store.create_session(ALICE, f"s{client}", NEW)
        async with asyncio.TaskGroup() as tasks:
            for client in range(CLIENTS):
                tasks.create_task(_client(store, client, done, outcome))
            try:
                for _ in range(FAILOVERS):
                    await asyncio.sleep(SECONDS_BETWEEN)
                    await group.fail_over()
                await asyncio.sleep(SECONDS_BETWEEN)
            finally:
                done.set()
        for client in range(CLIENTS):
            outcome.stored[client] = [one.text for one in await whole(store, f"s{client}")]
        await store.close()
    return outcome


async def test_what_a_replica_has_confirmed_survives_a_failover(tmp_path: Path) -> None:
    outcome = await _through_failovers(tmp_path, replicas=1)
    tell(
        "Redis failovers",
        failovers=FAILOVERS,
        acknowledged=sum(map(len, outcome.acknowledged.values())),
        longest_pause_seconds=round(outcome.longest_pause_seconds, 1),
    )

    assert outcome.lost == 0
    assert outcome.stored == outcome.acknowledged
    assert outcome.longest_pause_seconds < BACK_SECONDS
    assert min(map(len, outcome.acknowledged.values())) > FAILOVERS


async def test_what_no_replica_has_confirmed_is_lost_and_that_is_noticed(tmp_path: Path) -> None:
    outcome = await _through_failovers(tmp_path, replicas=0)

    assert outcome.lost > 0
