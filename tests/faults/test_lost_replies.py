"""Replies that are lost after the message is stored: who repeats with the same key stores it once."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest
from tests.faults.scale import scaled, tell
from tests.faults.web import APP, Gone, ask, serving

APPENDS = scaled(1_000, 10_000)
CLIENTS = 10
LOST = 0.1


class LossyProxy:
    """Hands each request to the service, waits for the whole reply, and at times hangs up instead of giving it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._chance = random.Random(17)  # noqa: S311 -- the same losses on every run
        self.dropped = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which holds one request."""
        to_service: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = re.findall(rb"Content-Length: (\d+)", head)
            from_service, to_service = await asyncio.open_connection("127.0.0.1", self._port)
            to_service.write(head + await reader.readexactly(int(length)))
            reply = await from_service.read()
            if self._chance.random() < LOST:
                self.dropped += 1
            else:
                writer.write(reply)
                await writer.drain()
        finally:
            for end in (to_service, writer):
                if end is not None:
                    end.close()


@asynccontextmanager
async def _lossy(port: int) -> AsyncIterator[tuple[LossyProxy, int]]:
    proxy = LossyProxy(port)
    server = await asyncio.start_server(proxy.relay, "127.0.0.1", 0)
    async with server:
        yield proxy, server.sockets[0].getsockname()[1]


async def _append(port: int, client: int, *, same_key: bool) -> None:
    """Append the client's messages, each until a reply comes."""
    for at in range(APPENDS // CLIENTS):
        body = {"messages": [{"role": "user", "parts": [{"type": "text", "text": f"{client} {at}"}]}]}
        key = f"{client} {at}"
        while True:
            try:
                await ask(
                    port,
                    "POST",
                    f"{APP}/sessions/s{client}/messages",
                    body,
                    Idempotency_Key=key if same_key else token_hex(8),
                )
            except Gone:
                continue
            break


async def _texts(port: int, client: int) -> list[str]:
    """Return all texts of the client's session, from the first to the last."""
    found: list[str] = []
    seq = 0
    while True:
        page = await ask(port, "GET", f"{APP}/sessions/s{client}/messages?after_seq={seq}&limit=200")
        found += [message["parts"][0]["text"] for message in page["items"]]
        if not page["items"]:
            return found
        seq = page["items"][-1]["seq"]


async def _stored(folder: Path, *, same_key: bool) -> tuple[list[list[str]], int]:
    with serving(folder, {}) as (service,):
        for client in range(CLIENTS):
            await ask(service.port, "PUT", f"{APP}/sessions/s{client}", {})
        async with _lossy(service.port) as (proxy, port):
            await asyncio.gather(*(_append(port, client, same_key=same_key) for client in range(CLIENTS)))
        return [await _texts(service.port, client) for client in range(CLIENTS)], proxy.dropped


async def test_messages_whose_replies_were_lost_are_stored_once_each_in_order(tmp_path: Path) -> None:
    stored, dropped = await _stored(tmp_path, same_key=True)
    tell("lost replies", appends=APPENDS, dropped=dropped, stored=sum(map(len, stored)))

    assert dropped > APPENDS * LOST / 2
    assert stored == [[f"{client} {at}" for at in range(APPENDS // CLIENTS)] for client in range(CLIENTS)]


async def test_a_client_that_repeats_under_another_key_is_caught(tmp_path: Path) -> None:
    stored, dropped = await _stored(tmp_path, same_key=False)

    assert sum(map(len, stored)) == APPENDS + dropped
    with pytest.raises(AssertionError):
        assert stored == [[f"{client} {at}" for at in range(APPENDS // CLIENTS)] for client in range(CLIENTS)]
