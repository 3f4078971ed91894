"""A run's events as they arise, for everybody in this process who watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from chatkeep.domain.runs import RunEvent

EventData = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event as a client gets it.

    `n` is its number when it is stored, and then a client may resume behind it; None for text that is not stored yet.
    An event of type `""` carries only a number: everything up to there has been sent already.
    """

    n: int | None
    type: str
    data: EventData


def encode_event(n: int, type_: str, data: EventData) -> RunEvent:
    """Return the stored form of an event."""
    return RunEvent(n, json.dumps({"type": type_, "data": data}, ensure_ascii=False, separators=(",", ":")))


def decode_event(event: RunEvent) -> StreamEvent:
    """Return the event that `encode_event` wrote."""
    body = json.loads(event.body)
    return StreamEvent(event.n, body["type"], body["data"])


def text_of(events: list[StreamEvent]) -> str:
    """Return the answer's text that stored events hold."""
    return "".join(event.data["text"] for event in events if event.type == "delta")


class LiveRun:
    """What this process knows of a run that it generates: the stored events, the text so far, and whether it is over.

    The text may be ahead of the stored events by what the next write will store.
    """

    def __init__(self, run_id: str, session_id: str) -> None:
        self.run_id = run_id
        self.session_id = session_id
        self.stored: list[StreamEvent] = []
        self.text = ""
        self.over = False
        self.stopped = False
        self.interrupted = False
        self._changed = asyncio.Event()
        self._resume: Callable[..., None] | None = None
        self._room = 0

    def notify(self) -> None:
        """Wake everybody who follows."""
        self._changed.set()
        self._changed = asyncio.Event()

    def stop(self) -> None:
        """Ask for the end of the generation."""
        self.stopped = True
        self.notify()
        if self._resume is not None:
            self._resume()

    def interrupt(self) -> None:
        """Stop the generation because this process ends, not because somebody asked."""
        self.interrupted = True
        self.stop()

    async def pause(self, producer: asyncio.Task[Any], seconds: float, *, unsaved: int) -> None:
        """Wait for `seconds`, or until the producer ends, a stop comes, or the text is longer than `unsaved`.

        For one caller at a time.
        """
        if self.stopped or len(self.text) > unsaved or producer.done():
            return
        loop = asyncio.get_running_loop()
        due = loop.create_future()

        def resume(*_: object) -> None:
            if not due.done():
                due.set_result(None)

        timer = loop.call_later(seconds, resume)
        producer.add_done_callback(resume)
        self._resume, self._room = resume, unsaved
        try:
            await due
        finally:
            self._resume = None
            producer.remove_done_callback(resume)
            timer.cancel()

    def say(self, text: str) -> None:
        """Add text to the answer; followers get it at once."""
        self.text += text
        self.notify()
        if self._resume is not None and len(self.text) > self._room:
            self._resume()

    async def follow(self, after: int) -> AsyncIterator[StreamEvent]:
        """Yield the events behind number `after`, then what arises, until the run is over.

        Text is sent as it arises, without a number; when it has been stored, a bare number follows.
        """
        position = 0
        sent = 0
        while position < len(self.stored) and (self.stored[position].n or 0) <= after:
            sent = _end(self.stored[position], sent)
            position += 1
        while True:
            changed = self._changed
            for event in self.stored[position:]:
                position += 1
                end = _end(event, sent)
                if event.type == "delta" and end <= sent:
                    yield StreamEvent(event.n, "", {})
                elif event.type == "delta":
                    yield StreamEvent(event.n, "delta", {"text": self.text[sent:end], "offset": sent})
                    sent = end
                else:
                    yield event
            if self.stored and position == len(self.stored) and len(self.text) > sent:
                start, sent = sent, len(self.text)
                yield StreamEvent(None, "delta", {"text": self.text[start:sent], "offset": start})
            elif position == len(self.stored) and self.over:
                return
            elif changed is self._changed:
                await changed.wait()


def _end(event: StreamEvent, sent: int) -> int:
    if event.type != "delta":
        return sent
    return int(event.data["offset"]) + len(event.data["text"])
