"""Summaries written by a language model."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from chatkeep.domain.errors import ModelTimeout, SummaryRejected
from chatkeep.domain.records import accepted, record_prompt
from chatkeep.domain.summaries import Method
from chatkeep.ports.models import ChatModel, Finished, ModelRequest, TextDelta
from chatkeep.ports.summarizer import SummaryRequest

_MOST_CHARS = 40_000


class ModelSummarizer:
    """Asks the model, and accepts only what is a record. `timeout_seconds` bounds the whole answer."""

    method: Method = "model"

    def __init__(self, model: ChatModel, *, timeout_seconds: float = 60) -> None:
        self.name: str | None = model.name
        self._model = model
        self._timeout_seconds = timeout_seconds

    async def summarize(self, request: SummaryRequest) -> str:
        """See Summarizer."""
        messages = record_prompt(
            request.lines, previous=request.previous, max_tokens=request.max_tokens, is_merge=request.is_merge
        )
        pieces: list[str] = []
        finished: Finished | None = None
        asked = ModelRequest(tuple(messages), max_output_tokens=2 * request.max_tokens)
        try:
            async with asyncio.timeout(self._timeout_seconds), aclosing(self._model.stream(asked)) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        pieces.append(event.text)
                        if sum(map(len, pieces)) > _MOST_CHARS:
                            raise SummaryRejected("the summary does not end")
                    elif isinstance(event, Finished):
                        finished = event
        except TimeoutError as error:
            raise ModelTimeout(f"{self._model.name} wrote no summary within {self._timeout_seconds} s") from error
        if finished is None or finished.finish_reason not in ("stop", "length", "end_turn"):
            raise SummaryRejected("the summary was broken off")
        text = "".join(pieces).rpartition("</think>")[2]
        if finished.finish_reason == "length":
            text = text.rpartition("\n")[0]  # the last line is not whole
        return accepted(
            text,
            request.lines,
            source_tokens=request.source_tokens,
            max_tokens=request.max_tokens,
            is_merge=request.is_merge,
        )
