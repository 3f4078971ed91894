"""A prompt while it is being chosen, and what it is chosen from."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from chatkeep.domain.budgets import ContextPolicy, ContextRequest, budget_of
from chatkeep.domain.folding import Entry, Turn, entry_tokens, is_pinned, oldest, turns_of
from chatkeep.domain.messages import Message, Part, Text
from chatkeep.domain.prompts import PromptMessage
from chatkeep.domain.relevance import Document
from chatkeep.domain.reports import Omitted
from chatkeep.domain.summaries import Placed, Places, Summaries, anchor, placed
from chatkeep.domain.tokens import json_tokens, message_tokens

_LARGE_BACKLOG = 8
"""A backlog of more chunks than that is summarised at once, and not chunk by chunk."""


@dataclass(frozen=True, slots=True)
class LogView:
    """What `build` has to know of the log.

    `entries` are messages of the path, ascending: at least those that no published segment stands for and that the
    strategy may show, and those that are pinned. `candidates` are the messages that bear on `query`, as (document,
    score), best first. `tokens` are estimates of messages that are known already.
    """

    places: Places
    entries: Sequence[Entry]
    candidates: Sequence[tuple[Document, float]] = ()
    query: str = ""
    tokens: Mapping[int, int] = field(default_factory=dict)


class Draft:
    """A prompt while it is being chosen: `turns` verbatim, the segments of `chain` before them."""

    def __init__(self, view: LogView, summaries: Summaries, request: ContextRequest, policy: ContextPolicy) -> None:
        self.view = view
        self.summaries = summaries
        self.policy = policy
        self.budget = budget_of(policy, request)
        self.factor = request.calibration.factor
        self.system = [PromptMessage("system", (Text(text),)) for text in request.system if text]
        self.tools_tokens = 0 if request.tools is None else math.ceil(json_tokens(request.tools))
        self.question = None if request.question is None else PromptMessage("user", (Text(request.question),))
        self.pins: list[Message] = []
        self.chain: list[Placed] = []
        self.turns: list[Turn] = []
        self.omitted: list[Omitted] = []
        self.short: dict[int, tuple[Part, ...]] = {}
        self._costs = dict(view.tokens)

    def cost(self, entry: Entry) -> int:
        """Return the estimate of a message, in full."""
        known = self._costs.get(entry.seq)
        if known is None:
            known = self._costs[entry.seq] = entry_tokens(entry)
        return known

    def verbatim(self, start: int) -> None:
        """Show the messages from the place `start` on, and before it those that are pinned.

        System messages stand before all others, wherever they were said.
        """
        entries, places = self.view.entries, self.view.places
        behind = (
            bisect_left(entries, places.seq(start), key=attrgetter("seq")) if start < places.count else len(entries)
        )
        self.turns = turns_of([entry for entry in entries[behind:] if not is_system(entry)], self.cost)
        self.pins = [
            entry
            for at, entry in enumerate(entries)
            if isinstance(entry, Message) and is_pinned(entry) and (at < behind or is_system(entry))
        ]

    def settle(self, summaries: Summaries) -> None:
        """Take these summaries for the prompt."""
        self.summaries = summaries
        self.chain = placed(summaries.published, self.view.places)
        self.verbatim(anchor(self.chain))

    def count(self, tokens: float) -> int:
        """Return an estimate as the model counts it."""
        return math.ceil(tokens * self.factor)

    def tokens(self) -> dict[str, int]:
        """Return what each part takes, without what is quoted."""
        newest = self.turns[-1:] if self.question is None else []
        older = self.turns[: len(self.turns) - len(newest)]
        question = 0 if self.question is None else message_tokens(self.question.parts)
        return {
            "system": self.count(sum(message_tokens(message.parts) for message in self.system)),
            "tools": self.count(self.tools_tokens),
            "pinned": self.count(sum(map(self._entry_tokens, self.pins))),
            "segments": segment_tokens(self.chain, self.factor),
            "recent": self.count(sum(map(self._turn_tokens, older))),
            "relevant": 0,
            "new": self.count(question + sum(map(self._turn_tokens, newest))),
        }

    def total(self) -> int:
        """Return what the prompt takes, without what is quoted."""
        return sum(self.tokens().values())

    def _turn_tokens(self, turn: Turn) -> int:
        if not self.short:
            return turn.tokens
        short = [entry for entry in turn.entries if entry.seq in self.short]
        return turn.tokens - sum(self.cost(entry) - self._entry_tokens(entry) for entry in short)

    def _entry_tokens(self, entry: Entry) -> int:
        return message_tokens(self.short[entry.seq]) if entry.seq in self.short else self.cost(entry)

    def _place_of(self, turn: Turn) -> int:
        return self.view.places.of(turn.entries[0].seq) or 0

    def foldable(self) -> int:
        """Return the place up to which the oldest turns go into summaries next: one turn at least, never the newest."""
        tokens = self.tokens()
        verbatim = self.budget.verbatim(self.total() - tokens["recent"] - tokens["new"])
        beyond = sum(turn.tokens for turn in self.turns) * self.factor - verbatim
        large = beyond > _LARGE_BACKLOG * self.budget.chunk
        count = oldest(
            self.turns,
            factor=self.factor,
            at_least=beyond - 2 * self.budget.chunk if large else self.budget.chunk,
            leave=verbatim,
        )
        # The turns that are to stay may be larger than the room: then all but the newest one go.
        return self._place_of(self.turns[max(1, count)])


def segment_tokens(chain: Sequence[Placed], factor: float) -> int:
    """Return what the segments take in a prompt, as the model counts."""
    return sum(math.ceil(one.segment.tokens * factor) for one in chain)


def is_system(entry: Entry) -> bool:
    """Return whether the message stands before all others in every prompt."""
    return isinstance(entry, Message) and entry.role == "system" and is_pinned(entry)
