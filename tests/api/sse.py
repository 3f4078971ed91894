"""Reading server-sent events in tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx


class Event(NamedTuple):
    """One block of a stream."""

    id: str | None
    type: str | None
    data: dict[str, Any]


def parse(block: str) -> Event | None:
    """Return the event of a block; None for a comment."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    if not fields:
        return None
    return Event(fields.get("id"), fields.get("event"), json.loads(fields.get("data", "{}")))


def events_of(text: str) -> list[Event]:
    """Return the events of a whole stream."""
    return [event for block in text.split("\n\n") if block and (event := parse(block))]


async def following(response: httpx.Response) -> AsyncIterator[Event]:
    """Yield events as they come."""
    held = ""
    async for piece in response.aiter_text():
        held += piece
        while "\n\n" in held:
            block, held = held.split("\n\n", 1)
            event = parse(block)
            if event is not None:
                yield event


def text_of(events: list[Event]) -> str:
    """Return the answer that the deltas make, each put where its offset says."""
    said = ""
    for event in events:
        if event.type == "delta":
            said = said[: event.data["offset"]] + event.data["text"]
    return said
