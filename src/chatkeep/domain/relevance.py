"""Which old messages bear on a question, by their words, and by their likeness to it where somebody tells that.

The score of a message is BM25 (Robertson and Zaragoza, 2009) over stems, where the speaker's name and the date count as
words, and then what conversations have that documents have not: an answer stands beside what was asked, so a message
passes part of its score on to its neighbours, decaying with the tokens between them, within one sitting; a person
whom the question names more likely said it; a question seldom holds an answer; and a long message has to be worth its
tokens. What is told of likeness is added: it finds what was said in other words.
"""

from __future__ import annotations

import heapq
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from chatkeep.domain.extraction import sentences
from chatkeep.domain.search import words
from chatkeep.domain.stems import stems
from chatkeep.domain.tokens import text_tokens

_K1 = 1.2
_B = 0.3
_COVERAGE = 0.75
_SPEAKER_WEIGHT = 0.5
_NAMED = 1.2
_DATE_WEIGHT = 2.0
_YEAR_WEIGHT = 0.6
_TIME_WORDS = 0.7
_QUESTION = 0.2
_PASSED_ON = 0.9
_HALF_TOKENS = 200.0
_LONG_TOKENS = 100
_MOST_POSTINGS = 1_000
"""The commonest words of a question are passed over where they stand in more messages than that: they tell little."""
_SITTING = timedelta(hours=6)
_SEEDS = 120
"""So many of the messages that match best pass their scores on."""
_FAINT = 0.05
_LEAST_TOKENS = 8
"""Hardly any message fits into less."""

_MONTH_NAMES = "january february march april may june july august september october november december"
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES.split(), 1)}
_TIMES = re.compile(
    r"\b(?:yesterday|today|tomorrow|tonight|last|next|ago|weeks?|weekend|months?|years?|days?|morning|evening|recently"
    r"|soon|(?:mon|tues|wednes|thurs|fri|satur|sun)day|" + "|".join(_MONTHS) + r"|\d{4})\b",
    re.IGNORECASE,
)
_ASKS_WHEN = re.compile(r"\bwhen\b|\bhow long\b|\b(?:what|which) (?:date|day|month|year|time)\b", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_WORD = re.compile(r"([^\W_]+)(?:['\u2019]s\b)?")


@dataclass(frozen=True, slots=True)
class Document:
    """A message as the index sees it. `tokens` is what quoting it takes."""

    seq: int
    speaker: str
    text: str
    at: datetime
    tokens: int


class _Postings(NamedTuple):
    """Where a stem stands, and how often; in arrays, which take an eighth of the room and of the collector's time."""

    places: array[int]
    counts: array[float]


def _frequency(postings: _Postings) -> int:
    return len(postings.places)


class Lexicon:
    """The words of one conversation, in its order. Not for use by two threads at once."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self._postings: dict[str, _Postings] = {}
        self._lengths: list[float] = []
        self._total = 0.0
        self._speakers: dict[str, set[int]] = {}
        self._months: dict[int, list[int]] = {}
        self._years: dict[int, list[int]] = {}
        self._timed: set[int] = set()
        self._weights: list[float] = []
        """What a message's score is multiplied with, whatever is asked."""
        self._worths: list[float] = []
        """The part of it that makes up for length."""
        self._onward: list[float] = []
        """What part of a score passes from the message to the next one; 0 at the end of a sitting."""
        self._back: list[float] = []
        """What part passes to the one before; 0 at the beginning of a sitting."""

    def add(self, document: Document) -> None:
        """Take the next message of the conversation."""
        at = len(self.documents)
        passed = _PASSED_ON * _HALF_TOKENS / (_HALF_TOKENS + document.tokens)
        self._onward.append(passed)
        self._back.append(passed)
        if at and document.at - self.documents[-1].at > _SITTING:
            self._onward[-2] = self._back[-1] = 0.0
        self.documents.append(document)
        counts: dict[str, float] = dict(Counter(stems(document.text)))
        for stem in set(stems(document.speaker)):
            counts[stem] = counts.get(stem, 0) + _SPEAKER_WEIGHT
            self._speakers.setdefault(stem, set()).add(at)
        for stem, count in counts.items():
            postings = self._postings.get(stem)
            if postings is None:
                postings = self._postings[stem] = _Postings(array("I"), array("f"))
            postings.places.append(at)
            postings.counts.append(count)
        length = sum(counts.values())
        self._lengths.append(length)
        self._total += length
        self._months.setdefault(document.at.month, []).append(at)
        self._years.setdefault(document.at.year, []).append(at)
        if _TIMES.search(document.text):
            self._timed.add(at)
        worth = math.sqrt(min(1.0, _LONG_TOKENS / max(1, document.tokens)))
        self._worths.append(worth)
        self._weights.append(worth * (1 - _QUESTION) if document.text.rstrip().endswith("?") else worth)

    def is_joined(self, at: int) -> bool:
        """Return whether the message at that place belongs to the sitting of the one before it."""
        return self._back[at] > 0

    def without_speakers(self, query: str) -> str:
        """Return the query without the names of some of the speakers: what it is about, whoever said it."""
        named = {stem for stem, said in self._speakers.items() if len(said) < len(self.documents)}

        def kept(word: re.Match[str]) -> str:
            found = stems(word[1])
            return "" if found and named.issuperset(found) else word[0]

        return " ".join(_WORD.sub(kept, query).split()) or query

    def scores(
        self, query: str, *, likeness: Mapping[int, float] | None = None, by_words: bool = True
    ) -> dict[int, float]:
        """Return how much messages bear on the query, by their place; those that are not in it do not.

        `likeness` of some of them is added to what words tell, where a tenth is a lot; without `by_words` it is all.
        """
        wanted = list(dict.fromkeys(stems(query)))
        scores: dict[int, float] = {}
        if by_words:
            matched = self._matched(wanted)
            self._date(matched, words(query))
            scores = self._spread(matched)
        factors = self._factors(query, wanted)
        for at, score in scores.items():
            scores[at] = score * self._weights[at]
        for said, factor in factors:
            for at in scores.keys() & said:
                scores[at] *= factor
        if likeness:
            top = max(scores.values(), default=1.0) or 1.0
            scores = {at: score / top for at, score in scores.items()}
            for at, like in likeness.items():
                weight = self._weights[at] / self._worths[at]
                for said, factor in factors:
                    weight *= factor if at in said else 1.0
                scores[at] = scores.get(at, 0.0) + like * self._worths[at] * math.sqrt(weight)
        return scores

    def _factors(self, query: str, wanted: Sequence[str]) -> list[tuple[set[int], float]]:
        """Return sets of messages that count more, and how much more."""
        named = [said for stem in wanted if len(said := self._speakers.get(stem, set())) < len(self.documents)]
        factors = [(said, 1 + _NAMED) for said in named]
        if _ASKS_WHEN.search(query):
            factors.append((self._timed, 1 + _TIME_WORDS))
        return factors

    def _matched(self, wanted: Sequence[str]) -> dict[int, float]:
        """Return BM25 by place, raised for messages that hold more of the query."""
        many = len(self.documents)
        found: dict[int, float] = {}
        covered: dict[int, float] = {}
        whole = 0.0
        fixed, slope = _K1 * (1 - _B), _K1 * _B * many / (self._total or 1.0)
        lengths = self._lengths
        looked_at = 0
        for places, counts in sorted(
            (self._postings[stem] for stem in wanted if stem in self._postings), key=_frequency
        ):
            looked_at += len(places)
            if looked_at > _MOST_POSTINGS and whole:
                break
            weight = math.log(1 + (many - len(places) + 0.5) / (len(places) + 0.5))
            whole += weight
            raised = weight * (_K1 + 1)
            for at, count in zip(places, counts, strict=True):
                score = raised * count / (count + fixed + slope * lengths[at])
                if at in found:
                    found[at] += score
                    covered[at] += weight
                else:
                    found[at] = score
                    covered[at] = weight
        share = _COVERAGE / (whole or 1.0)
        return {at: score * (1 + share * covered[at]) for at, score in found.items()}

    def _date(self, scores: dict[int, float], asked: Sequence[str]) -> None:
        """Raise messages of a month or a year that the query names."""
        for word in asked:
            if word in _MONTHS:
                for at in self._months.get(_MONTHS[word], ()):
                    scores[at] = scores.get(at, 0.0) + _DATE_WEIGHT
            elif _YEAR.fullmatch(word):
                for at in self._years.get(int(word), ()):
                    scores[at] = scores.get(at, 0.0) + _YEAR_WEIGHT

    def _spread(self, scores: dict[int, float]) -> dict[int, float]:
        """Return the best scores with what each message gets from those before and behind it."""
        seeds = sorted(heapq.nlargest(_SEEDS, scores, key=scores.__getitem__))
        if not seeds:
            return {}
        least = _FAINT * max(scores[at] for at in seeds)
        ahead = _passed(seeds, scores, self._onward, 1, least)
        behind = _passed(reversed(seeds), scores, self._back, -1, least)
        reached = dict.fromkeys(seeds, 0.0)
        reached.update(ahead)
        for at, score in behind.items():
            reached[at] = reached.get(at, 0.0) + score
        return {at: score + scores.get(at, 0.0) for at, score in reached.items()}


def _passed(
    seeds: Iterable[int], scores: dict[int, float], share: Sequence[float], step: int, least: float
) -> dict[int, float]:
    """Return what passes on from the seeds, message by message in one direction, until it is fainter than `least`."""
    got: dict[int, float] = {}
    end = len(share)
    for seed in seeds:
        carried = max(scores[seed], got.get(seed, 0.0)) * share[seed]
        at = seed + step
        while carried > least and 0 <= at < end and carried > got.get(at, 0.0):
            got[at] = carried
            carried *= share[at]
            at += step
    return got


def excerpt(text: str, query: str, *, max_tokens: float) -> str:
    """Return `text`, or the sentences of a long one around those that hold most of the query, with ellipses."""
    if text_tokens(text) <= max_tokens:
        return text
    wanted = set(stems(query))
    pieces = sentences(text)
    worth = [len(wanted.intersection(stems(piece))) for piece in pieces]
    low = max(range(len(pieces)), key=lambda at: (worth[at], -at))
    high = low + 1
    left = max_tokens - text_tokens(pieces[low])
    while True:
        below = low > 0 and text_tokens(pieces[low - 1]) <= left
        above = high < len(pieces) and text_tokens(pieces[high]) <= left
        if above and (not below or worth[high] >= worth[low - 1]):
            left -= text_tokens(pieces[high])
            high += 1
        elif below:
            low -= 1
            left -= text_tokens(pieces[low])
        else:
            break
    return ("… " if low else "") + " ".join(pieces[low:high]) + (" …" if high < len(pieces) else "")


def best(
    documents: Sequence[Document], scores: Mapping[int, float], *, budget_tokens: int, without: Callable[[int], bool]
) -> list[tuple[int, float]]:
    """Return (seq, score) of the best messages that fit the budget together, best first; of equals the newer.

    Left out are those whose seq is `without`. A message that does not fit leaves its place to the next one.
    """
    chosen: list[tuple[int, float]] = []
    left = budget_tokens
    for at in ranked(scores):
        document = documents[at]
        if left < _LEAST_TOKENS:
            break
        if document.tokens <= left and not without(document.seq):
            left -= document.tokens
            chosen.append((document.seq, scores[at]))
    return chosen


def ranked(scores: Mapping[int, float], *, most: int | None = None) -> list[int]:
    """Return the places by their scores, best first; of equals the newer. `most`: so many are enough."""
    if most is not None and len(scores) > most:
        least = heapq.nlargest(most, scores.values())[-1]
        scores = {at: score for at, score in scores.items() if score >= least}
    return sorted(sorted(scores, reverse=True), key=scores.__getitem__, reverse=True)[:most]
