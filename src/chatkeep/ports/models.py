"""The language model that writes answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chatkeep.domain.messages import Usage
from chatkeep.domain.prompts import PromptMessage


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What the model is asked.

    `messages` is never empty and holds at least one user message; system messages come first. `max_output_tokens` None
    leaves the bound to the server.
    """

    messages: Sequence[PromptMessage]
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text, never empty; pieces are concatenated as they are."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of the model's visible reasoning, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a stream that the server ended properly; exactly one.

    `finish_reason` is `stop`, `length` (cut by a token bound), `content_filter` or the server's own word. `model` is
    the name that the server reports.
    """

    finish_reason: str
    model: str
    usage: Usage | None = field(default=None)


ModelEvent = TextDelta | ReasoningDelta | Finished


class ChatModel(Protocol):
    """A model that answers in a stream. One instance serves any number of streams at once.

    Constructors do no I/O. Whoever builds a model closes it.
    """

    @property
    def name(self) -> str:
        """The choice as the settings write it: `echo`, `ollama:qwen2.5:7b`, `openai:NAME`, `anthropic:NAME`."""

    @property
    def can_assist(self) -> bool:
        """Whether the model follows instructions well enough to write titles, suggestions and summaries."""

    @property
    def window_tokens(self) -> int | None:
        """How many tokens the model takes, prompt and answer together; None if that is not known."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer, event by event, as they arrive from the server; the last one is `Finished`.

        Raises ModelUnavailable (unreachable, 429, 5xx, or a stream that breaks off before its end mark), ModelTimeout
        (nothing for longer than the model's timeout), ModelRefused (any other 4xx). What was yielded before stands.
        Closing the generator early (`aclose`) ends the request to the server at once.
        """

    async def close(self) -> None:
        """Release connections; repeatable. Streams under way end with ModelUnavailable."""


class ModelCatalog(Protocol):
    """The models that a caller may choose from."""

    def names(self) -> Sequence[str]:
        """Return what can be chosen; the first is the default."""

    def get(self, name: str | None) -> ChatModel:
        """Return the model of that name, None the default. Raises Invalid for one that cannot be chosen here."""
