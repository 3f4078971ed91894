"""How a context is chosen: the policy, what one prompt is asked for, and the numbers that follow from both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import JsonValue

Strategy = Literal["anchored", "window_summary", "recent", "full"]
STRATEGIES: tuple[Strategy, ...] = ("anchored", "window_summary", "recent", "full")
Relevance = Literal["off", "recency", "bm25", "embedding", "hybrid"]
RELEVANCES: tuple[Relevance, ...] = ("off", "recency", "bm25", "embedding", "hybrid")

LEAST_BUDGET_TOKENS = 256
_RELEVANT_SHARE = 12
_FEW_RELEVANT = 256
_SMALL_SHARE = 6
"""Of a small budget a larger share is for quotes, up to a few of them."""
_SUMMARY_SHARE = 4
_SHORTER = 4
_LEAST_VERBATIM = 4
"""A segment has at most a quarter of what it was made from, however small the budget is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPolicy:
    """How contexts are chosen. Tokens are estimates, corrected by what providers report.

    `anchored`: the newest messages verbatim, all older ones in summaries that change seldom. `window_summary`: the
    newest `recent` messages verbatim, the `summarised` ones before them in one summary, no older ones. `recent`: the
    newest `max_messages`. `full`: everything, or ContextOverflow. None of them parts a turn.

    `tmax_tokens` bounds the whole prompt. When it is reached, its oldest messages beyond `tretained_tokens` go into
    summaries, made ahead of time from about `chunk_tokens` each, of at most `segment_tokens` each; or at once when the
    provider's cache is cold, `idle` after the last message. `relevance` picks older messages to quote, of up to
    `relevant_tokens` (None: a twelfth of the budget): the newest, by words (`bm25`), by meaning (`embedding`), or by
    both (`hybrid`); by words where vectors lack. With `summaries` false the older messages are left out.
    """

    strategy: Strategy = "anchored"
    relevance: Relevance = "bm25"
    tmax_tokens: int = 8192
    tretained_tokens: int = 4096
    chunk_tokens: int = 2048
    segment_tokens: int = 192
    relevant_tokens: int | None = None
    recent: int = 5
    summarised: int = 5
    max_messages: int = 10
    summaries: bool = True
    idle: timedelta = timedelta(seconds=360)

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise Invalid(f"strategy {self.strategy!r} is none of {', '.join(STRATEGIES)}", field="strategy")
        if self.relevance not in RELEVANCES:
            raise Invalid(f"relevance {self.relevance!r} is none of {', '.join(RELEVANCES)}", field="relevance")
        if self.tmax_tokens < LEAST_BUDGET_TOKENS:
            raise Invalid(f"a budget has at least {LEAST_BUDGET_TOKENS} tokens", field="tmax_tokens")
        for name in ("tretained_tokens", "chunk_tokens", "segment_tokens", "recent", "summarised", "max_messages"):
            if getattr(self, name) < 1:
                raise Invalid(f"{name} must be at least 1", field=name)


DEFAULT_CONTEXT = ContextPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What is known of a model's way of counting: real tokens are estimates times `factor`.

    `reports` counts the usages it was learnt from; `exact`: it was counted with the model's own vocabulary.
    """

    factor: float = 1.0
    reports: int = 0
    exact: bool = False

    @property
    def source(self) -> Literal["bytes", "calibrated", "exact"]:
        """Where the factor is from."""
        if self.reports:
            return "calibrated"
        return "exact" if self.exact else "bytes"

    def learnt(self, *, estimated: int, reported: int) -> Calibration:
        """Return it after one more usage: the first one counts in full, later ones by half."""
        if estimated <= 0 or reported <= 0:
            return self
        seen = bounded(reported / estimated)
        factor = seen if self.reports == 0 else (self.factor + seen) / 2
        return Calibration(factor=factor, reports=self.reports + 1)


_LEAST_FACTOR = 0.5
_MOST_FACTOR = 4.0


def bounded(factor: float) -> float:
    """Return a factor that can be; a provider that reports nonsense makes no prompt empty or endless."""
    return min(_MOST_FACTOR, max(_LEAST_FACTOR, factor))


_SURE_AFTER = 3
_MARGIN_COLD = 0.15
_MARGIN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRequest:
    """What one prompt is for.

    `system` texts come first. `tools` are schemas that are sent beside the messages. `question`: a new message of the
    user that is not stored yet; None when the newest message of the path is what the model shall answer.
    `window_tokens` is what the model takes at most, None if that is not known; `output_tokens` of it are for the
    answer. `now` decides whether the provider's cache is cold.
    """

    now: datetime
    system: Sequence[str] = ()
    tools: JsonValue = None
    question: str | None = None
    window_tokens: int | None = None
    output_tokens: int = 1024
    calibration: Calibration = Calibration()


@dataclass(frozen=True, slots=True)
class Budget:
    """Numbers of one prompt, in tokens as the model counts them.

    `retained` is what a prompt has about when its summaries have just been changed, `total` what it never exceeds.
    """

    total: int
    relevant: int
    summaries: int
    retained: int
    chunk: int
    segment: int

    @property
    def room(self) -> int:
        """What is left of the total when the relevant messages are quoted."""
        return self.total - self.relevant

    def verbatim(self, others: int) -> int:
        """Return how much of the newest messages stays in full, beside `others`: the summaries and what comes first.

        Summaries are made of a chunk at a time, so that a prompt has between half a chunk less and half a chunk more
        than what is retained.
        """
        return max(self.retained - others - self.chunk // 2, self.retained // _LEAST_VERBATIM)


def budget_of(policy: ContextPolicy, request: ContextRequest) -> Budget:
    """Return the numbers. What the model takes is reduced by a margin, as long as its counting is little known."""
    total = policy.tmax_tokens
    if request.window_tokens is not None:
        is_sure = request.calibration.exact or request.calibration.reports >= _SURE_AFTER
        margin = _MARGIN if is_sure else _MARGIN_COLD
        total = min(total, math.floor((request.window_tokens - request.output_tokens) * (1 - margin)))
    relevant = 0
    if policy.relevance != "off":
        usual = max(total // _RELEVANT_SHARE, min(_FEW_RELEVANT, total // _SMALL_SHARE))
        relevant = usual if policy.relevant_tokens is None else policy.relevant_tokens
    retained = min(policy.tretained_tokens, total // 2)
    chunk = max(1, min(policy.chunk_tokens, (total - retained) // 2))
    segment = max(1, min(policy.segment_tokens, chunk // _SHORTER))
    return Budget(total, min(relevant, total // 2), total // _SUMMARY_SHARE, retained, chunk, segment)
