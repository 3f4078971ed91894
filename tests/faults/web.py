"""Services that are killed, and clients whose connections are cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Service, free_port

APP = "/v1/apps/default"
HEAD_BYTES = 64 * 1024


class Gone(Exception):
    """The connection broke, or was refused."""


@contextmanager
def serving(folder: Path, settings: Mapping[str, str], count: int = 1) -> Iterator[list[Service]]:
    """Run services on one database."""
    services = [Service(folder, free_port(), dict(settings)) for _ in range(count)]
    try:
        for service in services:
            service.start()
        yield services
    finally:
        for service in services:
            service.stop()


@asynccontextmanager
async def _asked(
    port: int, method: str, path: str, body: object = None, **headers: str
) -> AsyncIterator[asyncio.StreamReader]:
    """Send a request by HTTP/1.0, whose body is the bytes as they are; yield what follows the head. Raises Gone."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.0", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(content)}"]
    lines += ["Content-Type: application/json"] if content else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=HEAD_BYTES)
    except OSError as error:
        raise Gone from error
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(head[0].split(" ")[1])
        if status >= 400:
            raise AssertionError(f"{method} {path}: {status} {(await reader.read()).decode()}")
        yield reader
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Gone from error
    finally:
        writer.transport.abort()


async def ask(port: int, method: str, path: str, body: object = None, **headers: str) -> Any:
    """Return the JSON that a request is answered with. Raises Gone; AssertionError for an error's status."""
    async with _asked(port, method, path, body, **headers) as reader:
        content = await reader.read()
    try:
        return json.loads(content)
    except ValueError as error:  # the answer was cut off
        raise Gone from error


@dataclass
class Listener:
    """Puts a stream together over any number of connections, as a careful client does."""

    text: str = ""
    run_id: str = ""
    last_id: int = 0
    outcome: dict[str, Any] = field(default_factory=dict)
    cuts: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(
        self, port: int, method: str, path: str, body: object = None, *, most: int | None = None, **headers: str
    ) -> None:
        """Read until the stream ends or `most` bytes of it have come. Raises Gone when the server is."""
        async with _asked(port, method, path, body, **headers) as reader:
            rest = b""
            left = most
            while left is None or left > 0:
                read = await reader.read(4096 if left is None else min(left, 4096))
                if not read:
                    if not self.outcome:
                        raise Gone
                    return
                left = None if left is None else left - len(read)
                *blocks, rest = (rest + read).split(b"\n\n")
                for block in blocks:
                    self.take(block.decode())
        self.cuts += 1

    async def resume(self, port: int, *, most: int | None = None) -> None:
        """Go on behind what has come. Raises Gone."""
        path = f"{APP}/runs/{self.run_id}/events"
        await self.listen(port, "GET", path, most=most, Last_Event_ID=str(self.last_id))

    def take(self, block: str) -> None:
        """Use a whole block of the stream."""
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and ": " in line)
        if "id" in fields:
            self.last_id = int(fields["id"])
        data = json.loads(fields.get("data", "{}"))
        kind = fields.get("event")
        if kind == "run":
            self.run_id = data["run_id"]
            self.begun.set()
        elif kind == "delta":
            self.hear(data["offset"], data["text"])
        elif kind == "done":
            self.outcome = data

    def hear(self, offset: int, text: str) -> None:
        """Put words where they belong; those that are there already change nothing."""
        assert offset <= len(self.text), "a gap in the text"
        self.text += text[len(self.text) - offset :]


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message as the API gives it."""
    return "".join(part["text"] for part in message["parts"])


async def messages(port: int, session: str) -> list[dict[str, Any]]:
    """Return the newest messages of a session."""
    found: list[dict[str, Any]] = (await ask(port, "GET", f"{APP}/sessions/{session}/messages"))["items"]
    return found
