"""Servers that speak the DynamoDB API, started once by the test session, and the engine on them."""

from __future__ import annotations

import asyncio
import os
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
from chatkeep.ports.clock import Clock
from chatkeep.stores.dynamodb import Address, DynamoStore, open_dynamodb
from chatkeep.stores.dynamodb.tables import item_from_wire
from chatkeep.stores.items.tables import LOG, SESSIONS, WORK
from chatkeep.testing import DriverFault

_LOCAL_MAIN = "software.amazon.dynamodb.services.local.main.ServerRunner"


def dynoxide(port: int) -> list[str] | None:
    given = os.environ.get("CHATKEEP_TEST_DYNOXIDE")
    binary = Path(given) if given else TOOLS / "node_modules/@dynoxide/linux-x64/dynoxide"
    return [str(binary.resolve()), "serve", "-p", str(port)] if binary.is_file() else None


def _dynamodb_local(port: int) -> list[str] | None:
    given = os.environ.get("CHATKEEP_TEST_DYNAMODB_LOCAL")
    folder = Path(given) if given else TOOLS / "dynamodb-local"
    java = shutil.which("java")
    if java is None or not any(folder.glob("DynamoDBLocal*.jar")):
        return None
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", f"-Djava.library.path={folder.resolve()}"]
    alone = ["-inMemory", "-disableTelemetry"]
    return [java, *quick, "-cp", f"{folder.resolve()}/*", _LOCAL_MAIN, *alone, "-port", str(port)]


_PRODUCTS = {"dynoxide": dynoxide, "dynamodb-local": _dynamodb_local}


@pytest.fixture(scope="session", params=_PRODUCTS)
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a running server of each product, in a folder of its own."""
    port = free_port()
    command = _PRODUCTS[request.param](port)
    if command is None:
        missing(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@asynccontextmanager
async def _opened(endpoint: str) -> AsyncIterator[DynamoHarness]:
    harness = DynamoHarness(endpoint, f"t{token_hex(6)}-")
    await harness.create()
    yield harness
    await harness.drop()


@pytest.fixture
def open_harness(endpoint: str) -> Callable[[], AbstractAsyncContextManager[DynamoHarness]]:
    """Give what opens empty databases: tables of their own."""
    return partial(_opened, endpoint)


@pytest.fixture
async def harness(
    open_harness: Callable[[], AbstractAsyncContextManager[DynamoHarness]],
) -> AsyncIterator[DynamoHarness]:
    """Give an empty database."""
    async with open_harness() as harness:
        yield harness


@asynccontextmanager
async def _server_that_answers(status: int, code: str) -> AsyncIterator[str]:
    """Give the address of a server whose only answer is that error; status 0: it never answers."""
    body = f'{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "injected"}}'.encode()
    head = f"HTTP/1.1 {status} x\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {len(body)}\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if status:
            writer.write(head.encode() + body)
            await writer.drain()
        else:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _ask(endpoint: str) -> object:
    store = await open_dynamodb(Address(endpoint=endpoint), read_timeout_seconds=0.2)
    try:
        return await store.find_session(Scope("a", "b", "c"), "d")
    finally:
        await store.close()


async def _ask_one_that_answers(status: int, code: str) -> object:
    async with _server_that_answers(status, code) as endpoint:
        return await _ask(endpoint)


class DynamoHarness:
    """Three tables of their own on a running server."""

    def __init__(self, endpoint: str, prefix: str) -> None:
        self.address = Address(endpoint=endpoint, prefix=prefix)
        self._opened: list[DynamoStore] = []

    async def create(self) -> None:
        self._raw = await open_dynamodb(self.address)
        await self._raw.create_tables()
        self._tasks = asyncio.all_tasks()

    async def drop(self) -> None:
        for store in self._opened:
            await store.close()
        for table in (SESSIONS, LOG, WORK):
            await self._raw._dynamo.client.delete_table(TableName=self._raw._dynamo.name(table))
        await self._raw.close()

    async def open(self, clock: Clock) -> DynamoStore:
        store = await open_dynamodb(self.address, clock=clock)
        self._opened.append(store)
        return store

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        await corrupt(self._raw, scope, session_id, seq)

    async def rows(self) -> Sequence[bytes]:
        found = []
        for table in (SESSIONS, LOG, WORK):
            async for page in self._raw._dynamo.client.get_paginator("scan").paginate(
                TableName=self._raw._dynamo.name(table), ConsistentRead=True
            ):
                items = [item_from_wire(item) for item in page["Items"]]
                found += [dump(item) for item in items if counts(table, item)]
        return found

    def leaks(self) -> Sequence[str]:
        left = [repr(task) for task in asyncio.all_tasks() - self._tasks if task is not asyncio.current_task()]
        return left + [f"{store!r} is open" for store in self._opened if store._release is not None]

    def driver_errors(self) -> Sequence[DriverFault]:
        throttled = "ProvisionedThroughputExceededException"
        return [
            DriverFault("nobody listens", partial(_ask, f"http://127.0.0.1:{free_port()}"), Unavailable),
            DriverFault("no answer", partial(_ask_one_that_answers, 0, ""), Timeout),
            DriverFault("throttled", partial(_ask_one_that_answers, 400, throttled), Unavailable),
            DriverFault("server error", partial(_ask_one_that_answers, 500, "InternalServerError"), Unavailable),
            DriverFault("no table", partial(_ask_one_that_answers, 400, "ResourceNotFoundException"), Unavailable),
        ]
