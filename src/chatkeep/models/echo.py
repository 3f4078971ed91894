"""The built-in model: works offline, answers with the question, and says that it does."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import Text
from chatkeep.models.answers import closed
from chatkeep.models.prompts import clean
from chatkeep.ports.models import Finished, ModelEvent, ModelRequest, TextDelta

_WORD = re.compile(r"\s*\S+|\s+$")


class EchoModel:
    """Repeats the newest user message, word by word.

    `words_per_second` is the pace, kept against the clock, so that it does not drift; 0 or infinity stand for no pace
    at all. The same prompt gives the same answer. For `max_output_tokens` a word counts as a token. It reports no
    usage, because it counts no tokens.
    """

    name = "echo"
    can_assist = False
    window_tokens = None

    def __init__(self, words_per_second: float = 50) -> None:
        if not words_per_second >= 0:
            raise Invalid(
                f"the echo model's pace is {words_per_second} words per second; choose 0 (no pace) or more",
                field="words_per_second",
            )
        self._seconds_per_word = 0 if words_per_second == 0 or math.isinf(words_per_second) else 1 / words_per_second
        self._closed = False

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """See ChatModel."""
        words = _WORD.findall(_answer(request))
        bound = len(words) if request.max_output_tokens is None else request.max_output_tokens
        clock = asyncio.get_running_loop().time
        start = clock()
        for index, word in enumerate(words[:bound]):
            await asyncio.sleep(max(0, start + index * self._seconds_per_word - clock()))
            if self._closed:
                raise closed(self.name)
            yield TextDelta(word)
        yield Finished("length" if bound < len(words) else "stop", self.name)

    async def close(self) -> None:
        """See ChatModel; a stream under way ends at its next word."""
        self._closed = True


def _answer(request: ModelRequest) -> str:
    newest = next(message for message in reversed(request.messages) if message.role == "user")
    said = "\n\n".join(clean(part.text) for part in newest.parts if isinstance(part, Text))
    return f"(echo, the built-in offline model) You said: {said}" if said else "(echo, the built-in offline model)"
