"""Faults of a database behind a store: replies that are lost on the wire, and servers that die under load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Protocol

from tests.faults.reading import whole
from tests.faults.scale import scaled

from chatkeep.domain.errors import StoreError
from chatkeep.ports.store import Store
from chatkeep.testing.calls import ALICE, NEW, say

APPENDS = scaled(400, 10_000)
CRASHES = scaled(4, 50)
CLIENTS = 10
LOST = 0.1

Texts = list[list[str]]
"""What each client's session holds, in order."""


class Server(Protocol):
    """A server that can die and come back."""

    def start(self) -> None:
        """Start it, and wait until it answers."""

    def crash(self) -> None:
        """End it without a chance to put anything in order."""


class LossyProxy:
    """Hands everything on, and at times hangs up instead of giving what the server has answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._chance = random.Random(17)  # noqa: S311 -- the same losses on every run
        self.lossy = False

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
async def lossy(port: int) -> AsyncIterator[tuple[LossyProxy, int]]:
    """Give a proxy before the server at `port`, which loses nothing yet, and its own port."""
    proxy = LossyProxy(port)
    server = await asyncio.start_server(proxy.relay, "127.0.0.1", 0)
    async with server:
        yield proxy, server.sockets[0].getsockname()[1]


async def _append(store: Store, client: int, at: int, *, same_key: bool = True) -> int:
    """Append a message of the client until it is acknowledged; return how often it was not."""
    unanswered = 0
    while True:
        try:
            await say(store, f"{client} {at}", session=f"s{client}", key=f"{at}" if same_key else token_hex(8))
        except StoreError as error:
            if not error.is_temporary:
                raise
            unanswered += 1
            await asyncio.sleep(0.01)
        else:
            return unanswered


async def create_sessions(store: Store) -> None:
    """Create each client's session."""
    for client in range(CLIENTS):
        await store.create_session(ALICE, f"s{client}", NEW)


async def append_everything(through: Store, *, same_key: bool = True) -> int:
    """Let all clients append their share of APPENDS messages; return how often an append was not answered."""

    async def append_all(client: int) -> int:
        return sum([await _append(through, client, at, same_key=same_key) for at in range(APPENDS // CLIENTS)])

    return sum(await asyncio.gather(*map(append_all, range(CLIENTS))))


async def stored_texts(store: Store) -> Texts:
    """Return what each client's session holds."""
    return [[one.text for one in await whole(store, f"s{client}")] for client in range(CLIENTS)]


async def append_through_losses(
    store: Store, port: int, open_at: Callable[[int], Awaitable[Store]], *, same_key: bool
) -> tuple[Texts, int]:
    """Let clients append APPENDS messages through a wire that loses replies.

    Return what is stored, and how often an append was not answered: replies that travelled together are lost together.

    `open_at` opens the same database at another port of this machine.
    """
    await create_sessions(store)
    async with lossy(port) as (proxy, through_port):
        through = await open_at(through_port)
        proxy.lossy = True
        unanswered = await append_everything(through, same_key=same_key)
        proxy.lossy = False
        await through.close()
    return await stored_texts(store), unanswered


EVERYTHING_ONCE: Texts = [[f"{client} {at}" for at in range(APPENDS // CLIENTS)] for client in range(CLIENTS)]


async def append_through_crashes(store: Store, server: Server) -> tuple[Texts, Texts]:
    """Let clients append while the server crashes CRASHES times; return what was acknowledged, and what is stored."""
    done = asyncio.Event()
    acknowledged = dict.fromkeys(range(CLIENTS), 0)

    async def append(client: int) -> None:
        while not done.is_set():
            await _append(store, client, acknowledged[client])
            acknowledged[client] += 1

    await create_sessions(store)
    async with asyncio.TaskGroup() as group:
        for client in range(CLIENTS):
            group.create_task(append(client))
        for _ in range(CRASHES):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.crash)
            await asyncio.to_thread(server.start)
        await asyncio.sleep(0.5)
        done.set()
    return [[f"{client} {at}" for at in range(count)] for client, count in acknowledged.items()], await stored_texts(
        store
    )
