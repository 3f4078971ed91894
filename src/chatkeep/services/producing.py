"""The model at work: its words into a run that others watch, while the lease is kept."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from chatkeep.domain.errors import ChatkeepError, LeaseLost, ModelError
from chatkeep.domain.messages import MessageStatus, Part, Reasoning, Text
from chatkeep.domain.runs import RunOutcome
from chatkeep.ports.models import ChatModel, Finished, ModelRequest, ReasoningDelta, TextDelta
from chatkeep.services.events import EventWriter
from chatkeep.services.live import LiveRun

PERSIST_INTERVAL_SECONDS = 0.2
MAX_ANSWER_BYTES = 240 * 1024
"""A longer answer is cut and marked `partial`: a message holds at most 256 KiB. Counted as JSON writes it."""
MAX_REASONING_CHARS = 2_000
"""So much of the model's reasoning is kept."""

_UNSAVED_CHARS = 2_000

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Stopped(Exception):
    """The run was asked to stop."""


@dataclass(slots=True)
class Answer:
    """How the model's answer goes. `cut`: it was longer than a message can hold. `error`: the code of what failed."""

    reasoning: str = ""
    finished: Finished | None = None
    cut: bool = False
    outcome: RunOutcome = "complete"
    error: str | None = None

    def fail(self, error: ChatkeepError) -> None:
        """Note why there is no more of it."""
        self.outcome = "failed"
        self.error = error.code

    @property
    def status(self) -> MessageStatus:
        """Return the status of the message: an answer that the model or we cut off is `partial`."""
        cut = self.cut or (self.finished is not None and self.finished.finish_reason == "length")
        return "partial" if self.outcome == "complete" and cut else self.outcome

    def parts(self, text: str) -> tuple[Part, ...]:
        """Return the parts of the message, of which `text` is what the model said."""
        parts: list[Part] = []
        if self.reasoning:
            parts.append(Reasoning(self.reasoning))
        if text:
            parts.append(Text(text))
        return tuple(parts)


async def produce(model: ChatModel, request: ModelRequest, answer: Answer, live: LiveRun) -> None:
    """Let the model speak into `live` until it ends, fails, or has said as much as a message can hold."""
    room = MAX_ANSWER_BYTES
    try:
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    size = _json_bytes(event.text)
                    if size > room:
                        live.say(_fitting(event.text, room))
                        answer.cut = True
                        return
                    room -= size
                    live.say(event.text)
                elif isinstance(event, ReasoningDelta):
                    answer.reasoning = (answer.reasoning + event.text)[:MAX_REASONING_CHARS]
                else:
                    answer.finished = event
    except ModelError as error:
        answer.fail(error)
    except Exception as error:  # noqa: BLE001 -- a model of somebody else's; its fault ends this run and no other
        _log.warning("the model %s failed with %s", model.name, type(error).__name__)
        answer.fail(ModelError(f"the model {model.name} failed in a way of its own"))


async def attended(work: Coroutine[Any, Any, T], live: LiveRun, writer: EventWriter) -> T:
    """Return the result of `work`; meanwhile store what is said, keep the lease, and watch for a cancel.

    Raises Stopped when the run shall stop, LeaseLost, and what `work` raises. In each case `work` has ended.
    """
    task = asyncio.create_task(work)
    try:
        while True:
            signal = await writer.keep()
            if not signal.lease_ok:
                raise LeaseLost(live.run_id)
            if task.done():
                return await task
            if signal.cancel or live.stopped:
                raise Stopped
            await live.pause(task, PERSIST_INTERVAL_SECONDS, unsaved=_UNSAVED_CHARS + writer.saved_chars)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


def _json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


def _fitting(text: str, room: int) -> str:
    """Return as much of the beginning of `text` as fits into `room` bytes."""
    for at, character in enumerate(text):
        room -= _json_bytes(character)
        if room < 0:
            return text[:at]
    return text
