"""The end of a server: soon, whatever its clients do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.api.conftest import Running, running_server
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.h11_impl import H11Protocol

from chatkeep.settings import Settings

SOON_SECONDS = 5


@asynccontextmanager
async def accepted_too_late(running: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Tell the server to end, and yield the client's side of a connection that it has accepted just after that."""
    running.server.should_exit = True
    listening = running.server.servers[0]
    while listening.is_serving():  # noqa: ASYNC110 -- asyncio has no event for it
        await asyncio.sleep(0)
    theirs, ours = socket.socketpair()
    await asyncio.get_running_loop().connect_accepted_socket(
        lambda: H11Protocol(running.server.config, running.server.server_state, {}), ours
    )
    reader, writer = await asyncio.open_connection(sock=theirs)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_silent_connection_that_came_in_the_last_moment_does_not_hold_up_the_end(settings: Settings) -> None:
    async with running_server(settings) as running, accepted_too_late(running):
        await asyncio.wait_for(running.task, SOON_SECONDS)


async def test_a_request_that_came_in_the_last_moment_is_answered(settings: Settings) -> None:
    async with running_server(settings) as running, accepted_too_late(running) as (reader, writer):
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")

        answer = await asyncio.wait_for(reader.read(), SOON_SECONDS)
        await asyncio.wait_for(running.task, SOON_SECONDS)

    assert answer.startswith(b"HTTP/1.1 200")


async def test_headers_are_bounded_whatever_other_parsers_are_installed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "AutoHTTPProtocol", None)
    async with running_server(settings) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + 60_000 * b"x")

        answer = await asyncio.wait_for(reader.read(), SOON_SECONDS)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 400")
