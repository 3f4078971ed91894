"""Feeds of changes: "something of yours is not as it was; fetch again"."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator

from starlette.types import Receive, Scope, Send
from typing_extensions import override

from chatkeep.api.house import Caller, House
from chatkeep.api.sse import EventStream
from chatkeep.domain.errors import Unavailable
from chatkeep.services.live import StreamEvent

POLL_SECONDS = 1.0
MAX_FEEDS = 256


async def changes(caller: Caller) -> AsyncGenerator[StreamEvent, None]:
    """Yield `hello`, then `change` for what is seen to have changed, at most one each POLL_SECONDS.

    Both tell the version: a client that connects again and finds another one has missed a change.
    """
    store = caller.keeping.opened.store
    known: str | None = None
    while True:
        version = hashlib.sha256((await store.scope_version(caller.scope)).encode()).hexdigest()[:16]
        if known is None:
            yield StreamEvent(None, "hello", {"version": version})
        elif version != known:
            yield StreamEvent(None, "change", {"version": version})
        known = version
        await asyncio.sleep(POLL_SECONDS)


class FeedStream(EventStream):
    """An open feed; it counts as long as it is open. Raises Unavailable when there are too many."""

    def __init__(self, house: House, events: AsyncGenerator[StreamEvent, None]) -> None:
        if house.feeds >= MAX_FEEDS:
            raise Unavailable(f"{MAX_FEEDS} feeds are open here; try again later", retry_after_seconds=10)
        super().__init__(events, house.closing)
        self._house = house

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._house.feeds += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._house.feeds -= 1
