"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import StreamingResponse

from chatkeep.domain.errors import ChatkeepError
from chatkeep.services.live import StreamEvent

HEARTBEAT_SECONDS = 10.0
"""A comment goes out after so long without an event."""
LAST_WORDS_SECONDS = 0.5
"""When the server closes, a stream ends once nothing has come for so long."""

_endings: set[asyncio.Future[None]] = set()
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def described(*events: str) -> dict[str, Any]:
    """Return the schema of the blocks that a stream consists of; one that holds an id alone is no event."""
    return {
        "type": "object",
        "description": "One event; the answer is a sequence of them.",
        "properties": {
            "id": {"type": "string", "pattern": "^[0-9]{1,16}$", "description": "Where to go on: `Last-Event-ID`."},
            "event": {"enum": list(events)},
            "data": {"type": "string", "contentMediaType": "application/json", "description": "A JSON object."},
        },
        "additionalProperties": False,
    }


def encoded(event: StreamEvent) -> bytes:
    """Return the block of an event: its number as the id, its type, and its data as JSON on one line."""
    lines = [] if event.n is None else [f"id: {event.n}"]
    if event.type:
        text = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"))
        lines += [f"event: {event.type}", f"data: {text}"]
    return ("\n".join(lines) + "\n\n").encode(errors="replace")


class EventStream(StreamingResponse):
    """An answer that stays open. Closing it closes `events`; `closing` ends it soon."""

    def __init__(
        self,
        events: AsyncGenerator[StreamEvent, None],
        closing: asyncio.Event,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(_blocks(events, closing), headers={**_HEADERS, **(headers or {})})
        self.headers["Content-Type"] = "text/event-stream; charset=utf-8"


async def _blocks(events: AsyncGenerator[StreamEvent, None], closing: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """Yield blocks, and comments while there are none; an error of the events becomes the last one."""
    ends = asyncio.ensure_future(closing.wait())
    upcoming: asyncio.Future[StreamEvent | None] | None = None
    try:
        yield b": hello\n\n"
        while True:
            if upcoming is None:
                upcoming = asyncio.ensure_future(anext(events, None))
            if closing.is_set():
                await asyncio.wait([upcoming], timeout=LAST_WORDS_SECONDS)
            else:
                waited: list[asyncio.Future[Any]] = [upcoming, ends]
                await asyncio.wait(waited, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if upcoming.done():
                event, upcoming = await upcoming, None
                if event is None:
                    return
                yield encoded(event)
            elif closing.is_set():
                return
            else:
                yield b": still here\n\n"
    except ChatkeepError as error:
        yield encoded(StreamEvent(None, "error", {"code": error.code}))
    finally:
        ends.cancel()
        ending = asyncio.ensure_future(_end(events, upcoming))
        _endings.add(ending)
        ending.add_done_callback(_endings.discard)


async def _end(events: AsyncGenerator[StreamEvent, None], upcoming: asyncio.Future[StreamEvent | None] | None) -> None:
    """Close the events; in a task of its own, because that of a broken connection is cancelled again and again."""
    if upcoming is not None:
        upcoming.cancel()
        with contextlib.suppress(asyncio.CancelledError, ChatkeepError):
            await upcoming
    await events.aclose()
