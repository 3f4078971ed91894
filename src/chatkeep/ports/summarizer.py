"""Who writes summaries of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chatkeep.domain.extraction import Line
from chatkeep.domain.summaries import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRequest:
    """What shall be summarised: messages, or, if `is_merge`, the lines of several summaries, oldest first.

    `previous` is the summary that stands before it, for context only. `source_tokens` estimates the lines; the result
    has at most about `max_tokens`.
    """

    lines: Sequence[Line]
    source_tokens: int
    max_tokens: int
    previous: str = ""
    is_merge: bool = False


class Summarizer(Protocol):
    """Writes summaries. One instance serves any number of calls at once."""

    @property
    def method(self) -> Method:
        """How it works: `model` or `extractive`."""

    @property
    def name(self) -> str | None:
        """The model's name, None without one."""

    async def summarize(self, request: SummaryRequest) -> str:
        """Return the summary, checked: not empty, shorter than its source, within `max_tokens`; text without tags.

        The same request may give another text. Raises ModelError, also for a text that cannot serve (SummaryRejected).
        """
