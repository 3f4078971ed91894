"""Why a prompt is what it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from chatkeep.domain.paths import Ranges
from chatkeep.domain.summaries import Places

Decision = Literal["included", "relevant", "covered", "omitted"]


class Omitted(NamedTuple):
    """Messages that the model does not see, and why."""

    first_seq: int
    last_seq: int
    reason: str


class Covered(NamedTuple):
    """A segment that stands for messages."""

    first_seq: int
    last_seq: int
    level: int
    method: str
    tokens: int


class Shortened(NamedTuple):
    """A message that did not fit whole, and its tokens before and after."""

    seq: int
    from_tokens: int
    to_tokens: int


class Decided(NamedTuple):
    """What became of one message of the path."""

    seq: int
    decision: Decision
    reason: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a prompt holds of a session's path, in ranges of seqs, and why.

    `tokens` has `system tools pinned segments recent relevant new` and `total`, as the model counts; they add up.
    `source_tokens` is what all that the summaries stand for would take. `published`: this prompt is the first with a
    changed head. `prefix_fraction` is the part of it, in tokens, that begins like the prompt before. `estimate`
    is `bytes`, `exact` if the model's own vocabulary counted, or `calibrated` once a provider has reported usage.
    """

    strategy: str
    relevance: str
    budget_tokens: int
    tokens: dict[str, int]
    included: Ranges
    relevant: tuple[tuple[int, float], ...]
    covered: tuple[Covered, ...]
    omitted: tuple[Omitted, ...]
    shortened: tuple[Shortened, ...] = ()
    source_tokens: int = 0
    published: bool = False
    estimate: str = "bytes"
    prefix_fraction: float = 0.0
    build_ms: float = 0.0
    wait_ms: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the report as events and messages carry it."""
        return {
            "strategy": self.strategy,
            "relevance": self.relevance,
            "budget_tokens": self.budget_tokens,
            "tokens": self.tokens,
            "included": [list(pair) for pair in self.included],
            "relevant": [[seq, round(score, 2)] for seq, score in self.relevant],
            "covered": [list(one) for one in self.covered],
            "omitted": [list(one) for one in self.omitted],
            "shortened": [list(one) for one in self.shortened],
            "source_tokens": self.source_tokens,
            "published": self.published,
            "estimate": self.estimate,
            "prefix_fraction": round(self.prefix_fraction, 4),
            "build_ms": round(self.build_ms, 2),
            "wait_ms": round(self.wait_ms, 2),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Report:
        """Return what `to_json` wrote."""
        return Report(
            **{
                **value,
                "included": tuple((low, high) for low, high in value["included"]),
                "relevant": tuple((seq, score) for seq, score in value["relevant"]),
                "covered": tuple(Covered(*one) for one in value["covered"]),
                "omitted": tuple(Omitted(*one) for one in value["omitted"]),
                "shortened": tuple(Shortened(*one) for one in value["shortened"]),
            }
        )


def ranges_of(seqs: Iterable[int]) -> Ranges:
    """Return ascending seqs as inclusive ranges."""
    found: list[list[int]] = []
    for seq in seqs:
        if found and found[-1][1] == seq - 1:
            found[-1][1] = seq
        else:
            found.append([seq, seq])
    return tuple((low, high) for low, high in found)


def traced(report: Report, places: Places, tokens: Mapping[int, int]) -> Sequence[Decided]:
    """Return what became of each message of the path, in its order, once: the first decision that applies.

    `tokens` gives those of single messages, where they are known. Takes time with the length of the path.
    """
    relevant = dict(report.relevant)
    return [
        _decided(report, seq, relevant, tokens.get(seq, 0))
        for low, high in places.seqs(0, places.count)
        for seq in range(low, high + 1)
    ]


def _decided(report: Report, seq: int, relevant: dict[int, float], tokens: int) -> Decided:
    if any(low <= seq <= high for low, high in report.included):
        return Decided(seq, "included", "verbatim", tokens)
    if seq in relevant:
        return Decided(seq, "relevant", f"it bears on the question: {relevant[seq]:.2f}", tokens)
    for one in report.covered:
        if one.first_seq <= seq <= one.last_seq:
            text = f"in the summary of {one.first_seq} to {one.last_seq} ({one.method}, level {one.level})"
            return Decided(seq, "covered", text, 0)
    for left in report.omitted:
        if left.first_seq <= seq <= left.last_seq:
            return Decided(seq, "omitted", left.reason, 0)
    return Decided(seq, "omitted", "empty", 0)
