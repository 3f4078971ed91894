"""Crashes, cut connections and lost replies: nothing that was acknowledged is lost, and nothing is stored twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest
from tests.faults.history import Appended, anomalies
from tests.faults.listing import list_append
from tests.faults.reading import whole
from tests.faults.scale import LONG, scaled, tell
from tests.stores.postgres.conftest import PostgresHarness, Server

from chatkeep.domain.errors import StoreError
from chatkeep.ports.clock import system_clock
from chatkeep.ports.store import Store
from chatkeep.stores.postgres import Address, open_postgres
from chatkeep.testing.calls import ALICE, NEW, say

SECONDS = scaled(20, 600)
APPENDS = scaled(1_000, 10_000)
CRASHES = scaled(4, 50)
CLIENTS = 10
LOST = 0.1

pytestmark = pytest.mark.timeout(scaled(240, 7_200))


@pytest.fixture
def newest(server: Server, harness: PostgresHarness) -> PostgresHarness:
    """Give the newest server; every one at full length."""
    if not LONG and "18" not in str(server.binaries):
        pytest.skip("briefly on the newest version only; `make faults` does it on all")
    return harness


def test_all_clients_see_one_order_and_never_an_older_state(newest: PostgresHarness, tmp_path: Path) -> None:
    asyncio.run(newest.prepare())
    notes, final = list_append(newest.url, tmp_path, seconds=SECONDS)
    tell("PostgreSQL list-append", seconds=SECONDS, calls=len(notes), stored=sum(map(len, final.values())))

    assert anomalies(notes, final) == []
    assert sum(map(len, final.values())) == sum(isinstance(note, Appended) for note in notes) > SECONDS * 30


class LossyProxy:
    """Hands everything on, and at times hangs up instead of giving what the server has answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._chance = random.Random(17)  # noqa: S311 -- the same losses on every run
        self.lossy = False
        self.dropped = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)

        async def there() -> None:
            while chunk := await reader.read(65_536):
                to_server.write(chunk)
                await to_server.drain()

        async def back() -> None:
            while chunk := await from_server.read(65_536):
                if self.lossy and self._chance.random() < LOST:
                    self.dropped += 1
                    return
                writer.write(chunk)
                await writer.drain()

        ways = [asyncio.create_task(there()), asyncio.create_task(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (to_server, writer):
                end.close()


@asynccontextmanager
async def _lossy(port: int) -> AsyncIterator[tuple[LossyProxy, int]]:
    proxy = LossyProxy(port)
    server = await asyncio.start_server(proxy.relay, "127.0.0.1", 0)
    async with server:
        yield proxy, server.sockets[0].getsockname()[1]


async def _append(store: Store, client: int, at: int, *, same_key: bool) -> None:
    """Append a message of the client until it is acknowledged."""
    while True:
        try:
            await say(store, f"{client} {at}", session=f"s{client}", key=f"{at}" if same_key else token_hex(8))
        except StoreError as error:
            if not error.is_temporary:
                raise
            await asyncio.sleep(0.01)
        else:
            return


async def _append_all(store: Store, client: int, *, same_key: bool) -> None:
    for at in range(APPENDS // CLIENTS):
        await _append(store, client, at, same_key=same_key)


async def _stored_through_losses(harness: PostgresHarness, *, same_key: bool) -> tuple[list[list[str]], int]:
    store = await harness.open(system_clock)
    for client in range(CLIENTS):
        await store.create_session(ALICE, f"s{client}", NEW)
    async with _lossy(harness.server.port) as (proxy, port):
        there = Address(harness.address.dsn.replace(f":{harness.server.port}/", f":{port}/"), harness.schema)
        through = await open_postgres(there)
        proxy.lossy = True
        await asyncio.gather(*(_append_all(through, at, same_key=same_key) for at in range(CLIENTS)))
        proxy.lossy = False
        await through.close()
    return [[one.text for one in await whole(store, f"s{client}")] for client in range(CLIENTS)], proxy.dropped


async def test_messages_whose_replies_were_lost_are_stored_once_each_in_order(newest: PostgresHarness) -> None:
    stored, dropped = await _stored_through_losses(newest, same_key=True)
    tell("PostgreSQL lost replies", appends=APPENDS, dropped=dropped, stored=sum(map(len, stored)))

    assert dropped > APPENDS * LOST / 2
    assert stored == [[f"{client} {at}" for at in range(APPENDS // CLIENTS)] for client in range(CLIENTS)]


async def test_a_client_that_repeats_under_another_key_is_caught(newest: PostgresHarness) -> None:
    stored, _ = await _stored_through_losses(newest, same_key=False)

    assert sum(map(len, stored)) > APPENDS


async def test_nothing_acknowledged_is_lost_when_the_server_crashes_under_load(newest: PostgresHarness) -> None:
    store = await newest.open(system_clock)
    done = asyncio.Event()
    acknowledged: dict[int, int] = {}

    async def client(number: int) -> None:
        at = 0
        while not done.is_set():
            await _append(store, number, at, same_key=True)
            at += 1
            acknowledged[number] = at

    for number in range(CLIENTS):
        await store.create_session(ALICE, f"s{number}", NEW)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number))
        for _ in range(CRASHES):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(newest.server.stop, how="immediate")
            await asyncio.to_thread(newest.server.start)
        await asyncio.sleep(0.5)
        done.set()

    stored = {at: [one.text for one in await whole(store, f"s{at}")] for at in range(CLIENTS)}
    tell("PostgreSQL crashes", crashes=CRASHES, acknowledged=sum(acknowledged.values()))
    assert stored == {at: [f"{at} {n}" for n in range(acknowledged[at])] for at in range(CLIENTS)}
    assert min(acknowledged.values()) > CRASHES
