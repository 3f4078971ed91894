"""A summary without a model: the sentences of a conversation that say the most in the fewest tokens.

Centrality, which finds the gist of articles, ranks small talk first in conversations. So a sentence counts by how rare
its words are here for the tokens it takes, more if it holds names, numbers and dates, less if it only asks, and less
the more of it has been said by the sentences chosen before (maximal marginal relevance, Carbonell and Goldstein, 1998).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chatkeep.domain.stems import stems
from chatkeep.domain.tokens import text_tokens

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+(?=\s|$|[\"')\]])|[.。！？](?=\S)|\n|$)?", re.MULTILINE)  # noqa: RUF001
_CLOSE = 220
"""Code points of the longest piece of a text; a longer sentence is cut at white space."""
_NAMED = re.compile(
    r"(?<=[a-z,;:] )[A-Z][\w'-]+|\b[A-Z]{2,}\b|\b\w*\d[\w.,:/-]*|[\"“`][^\"”`]{2,40}[\"”`]|https?://\S+"
)
_TIMES = re.compile(
    r"\b(?:yesterday|tomorrow|tonight|(?:last|next|this) \w+|ago|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|january|february|march|april|june|july|august|september|october|november|december)\b",
    re.IGNORECASE,
)
_PER_LINE_TOKENS = 3.0
_SOME_TOKENS = 6.0
_ENTITY = 0.5
_TIME = 0.4
_QUESTION = 0.45
_REPEATED = 0.8


@dataclass(frozen=True, slots=True)
class Line:
    """Something that was said. `seq` is the message's."""

    seq: int
    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Extract:
    """A sentence that was chosen, in the order of the conversation."""

    line: Line
    text: str


@dataclass(slots=True)
class _Piece:
    line: Line
    at: int
    text: str
    stems: frozenset[str]
    tokens: float
    worth: float = 0.0
    said: float = 0.0


def extracted(lines: Sequence[Line], *, max_tokens: float) -> list[Extract]:
    """Return the sentences that say the most within about `max_tokens`, in their order. Deterministic."""
    pieces = _pieces(lines)
    _value(pieces)
    left = max_tokens
    chosen: list[_Piece] = []
    waiting = [piece for piece in pieces if piece.worth > 0]
    while waiting:
        best = max(waiting, key=lambda piece: (piece.worth * (1 - _REPEATED * piece.said), -piece.at))
        waiting.remove(best)
        if best.tokens <= left:
            left -= best.tokens
            chosen.append(best)
            for piece in waiting:
                piece.said = max(piece.said, _overlap(piece.stems, best.stems))
        waiting = [piece for piece in waiting if piece.tokens <= left]
    chosen.sort(key=lambda piece: piece.at)
    return [Extract(piece.line, piece.text) for piece in chosen]


def _pieces(lines: Sequence[Line]) -> list[_Piece]:
    pieces: list[_Piece] = []
    for line in lines:
        for sentence in sentences(line.text):
            tokens = text_tokens(sentence) + _PER_LINE_TOKENS
            pieces.append(_Piece(line, len(pieces), sentence, frozenset(stems(sentence)), tokens))
    return pieces


def sentences(text: str) -> list[str]:
    """Return the sentences of `text`, white space folded, each of at most 220 code points."""
    found: list[str] = []
    for match in _SENTENCE.finditer(text):
        rest = " ".join(match.group().split())
        while len(rest) > _CLOSE:
            cut = rest.rfind(" ", _CLOSE // 2, _CLOSE)
            cut = _CLOSE if cut < 0 else cut
            found.append(rest[:cut])
            rest = rest[cut:].strip()
        if rest:
            found.append(rest)
    return found


def _value(pieces: Sequence[_Piece]) -> None:
    """Give each piece its worth: how much rare content a token of it carries."""
    counts = Counter(stem for piece in pieces for stem in piece.stems)
    many = len(pieces)
    for piece in pieces:
        content = sum(math.log(1 + many / counts[stem]) for stem in piece.stems)
        raised = 1 + _ENTITY * min(3, len(_NAMED.findall(piece.text))) + _TIME * bool(_TIMES.search(piece.text))
        if piece.text.endswith("?"):
            raised *= 1 - _QUESTION
        piece.worth = raised * content / (piece.tokens + _SOME_TOKENS)


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one) if one else 1.0
