"""A refusal that is heard: what the client still sends is read before it is answered."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatkeep.domain.limits import KIB

MAX_UNREAD_BYTES = 16 * 1024 * KIB
MAX_SECONDS = 5.0
FIRST_ERROR = 400


class Drain:
    """Reads the rest of a body, up to 16 MiB and 5 seconds long, before an error is sent.

    A server that answers and closes while bytes are still on their way resets the connection, and the client, busy
    with sending, never sees why.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        unread = True

        async def noted() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def drained(message: Message) -> None:
            if unread and message["type"] == "http.response.start" and message["status"] >= FIRST_ERROR:
                with suppress(TimeoutError):
                    async with asyncio.timeout(MAX_SECONDS):
                        await rest()
            await send(message)

        async def rest() -> None:
            size = 0
            while unread and size < MAX_UNREAD_BYTES:
                size += len((await noted()).get("body", b""))

        await self._app(scope, noted, drained)


def _has_body(scope: Scope) -> bool:
    """Return whether a body is on its way; one that waits for a word of the server's is not."""
    found = False
    for name, value in scope["headers"]:
        if name == b"expect" and value.lower() == b"100-continue":
            return False
        found = found or name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
    return found
