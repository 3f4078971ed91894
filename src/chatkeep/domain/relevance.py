"""Which old messages bear on a question, by their words, and by their likeness to it where somebody tells that.

The score of a message is BM25 (Robertson and Zaragoza, 2009) over stems, where the speaker's name and the date count as
words, and then what conversations have that documents have not: an answer stands beside what was asked, so a message
passes part of its score on to its neighbours, decaying with the tokens between them, within one sitting; a person
whom the question names more likely said it; a question seldom holds an answer; and a long message has to be worth its
tokens. What is told of likeness is added: it finds what was said in other words.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from chatkeep.domain.extraction import sentences
from chatkeep.domain.search import words
from chatkeep.domain.stems import stems, stems_of
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
_MOST_POSTINGS = 600
"""The commonest words of a question are passed over where they stand in more messages than that: they tell little."""
_SEED_TOKENS = 12
_SEEDS = (32, 240)
"""Of the messages that match best, one for so many tokens that may be quoted passes its score on; at least and most."""
_SITTING = timedelta(hours=6)
_FAINT = 0.1
_LEAST_TOKENS = 8
"""Hardly any message fits into less."""

_MONTH_NAMES = "january february march april may june july august september october november december"
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES.split(), 1)}
_TIME_NAMES = (
    "yesterday today tomorrow tonight last next ago week weeks weekend month months year years day days morning evening"
    " recently soon monday tuesday wednesday thursday friday saturday sunday"
)
_TIMES = frozenset(_TIME_NAMES.split()).union(_MONTHS)
_YEAR_DIGITS = 4
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
        self._lengths = array("d")
        self._total = 0.0
        self._speakers: dict[str, set[int]] = {}
        self._months: dict[int, list[int]] = {}
        self._years: dict[int, list[int]] = {}
        self._timed: set[int] = set()
        self._weights = array("d")
        """What a message's score is multiplied with, whatever is asked."""
        self._worths = array("d")
        """The part of it that makes up for length."""
        self._onward = array("d")
        """What part of a score passes from the message to the next one; 0 at the end of a sitting."""
        self._back = array("d")
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
        said = words(document.text)
        counts: dict[str, float] = dict(Counter(stems_of(said)))
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
        if any(word in _TIMES or (len(word) == _YEAR_DIGITS and word.isdecimal()) for word in said):
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
        self,
        query: str,
        *,
        budget_tokens: int | None = None,
        before_seq: int | None = None,
        likeness: Mapping[int, float] | None = None,
        by_words: bool = True,
    ) -> dict[int, float]:
        """Return how much messages bear on the query, by their place; those that are not in it do not.

        Looked at are the messages before `before_seq`, None for all. `budget_tokens` is what may be quoted, None for as
        much as there is: with less, fewer of them are told of. `likeness` of some is added to what words tell, where a
        tenth is a lot; without `by_words` it is all.
        """
        end = len(self.documents)
        if before_seq is not None:
            end = bisect_left(self.documents, before_seq, key=attrgetter("seq"))
            likeness = {at: like for at, like in (likeness or {}).items() if at < end}
        wanted = list(dict.fromkeys(stems(query)))
        scores: dict[int, float] = {}
        if by_words:
            least, most = _SEEDS
            seeds = most if budget_tokens is None else min(most, max(least, budget_tokens // _SEED_TOKENS))
            matched = self._matched(wanted, end)
            self._date(matched, words(query), end)
            weights = self._weights
            scores = {at: score * weights[at] for at, score in self._spread(matched, seeds, end).items()}
        factors = self._factors(query, wanted)
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

    def _matched(self, wanted: Sequence[str], end: int) -> dict[int, float]:
        """Return BM25 by place, for places below `end`, raised for messages that hold more of the query."""
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
            stop = len(places) if end == many else bisect_left(places, end)
            newest = slice(max(0, stop - _MOST_POSTINGS), stop)
            for at, count in zip(places[newest], counts[newest], strict=True):
                score = raised * count / (count + fixed + slope * lengths[at])
                if at in found:
                    found[at] += score
                    covered[at] += weight
                else:
                    found[at] = score
                    covered[at] = weight
        share = _COVERAGE / (whole or 1.0)
        return {at: score * (1 + share * covered[at]) for at, score in found.items()}

    def _date(self, scores: dict[int, float], asked: Sequence[str], end: int) -> None:
        """Raise messages below the place `end` of a month or a year that the query names."""
        for word in asked:
            if word in _MONTHS:
                for at in _below(self._months.get(_MONTHS[word], ()), end):
                    scores[at] = scores.get(at, 0.0) + _DATE_WEIGHT
            elif _YEAR.fullmatch(word):
                for at in _below(self._years.get(int(word), ()), end):
                    scores[at] = scores.get(at, 0.0) + _YEAR_WEIGHT

    def _spread(self, scores: dict[int, float], most: int, end: int) -> dict[int, float]:
        """Return the `most` best scores with what each message below the place `end` gets from those around it."""
        seeds = sorted(sorted(scores, key=scores.__getitem__)[-most:])
        if not seeds:
            return {}
        reached = {at: scores[at] for at in seeds}
        least = _FAINT * max(reached.values())
        own = scores.get
        for at, got in _passed([*seeds, end], scores, self._onward, 1, least):
            reached[at] = own(at, 0.0) + got
        for at, got in _passed([*seeds[::-1], -1], scores, self._back, -1, least):
            reached[at] = (reached[at] if at in reached else own(at, 0.0)) + got
        return reached


def _below(places: Sequence[int], end: int) -> Sequence[int]:
    return places[: bisect_left(places, end)]


def _passed(
    seeds: Sequence[int], scores: Mapping[int, float], share: Sequence[float], step: int, least: float
) -> list[tuple[int, float]]:
    """Return what messages get from the seeds, one after the other in one direction, until it is fainter than `least`.

    The last one of `seeds` is the place to stop at. What reaches a seed goes on from there if it is more than the
    seed's own score.
    """
    found: list[tuple[int, float]] = []
    carried = 0.0
    for seed, following in pairwise(seeds):
        carried = max(scores[seed], carried) * share[seed]
        for at in range(seed + step, following, step):
            if carried <= least:
                break
            found.append((at, carried))
            carried *= share[at]
        if carried <= least:
            carried = 0.0
        elif following in scores:
            found.append((following, carried))
    return found


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
        least = sorted(scores.values())[-most]
        scores = {at: score for at, score in scores.items() if score >= least}
    return sorted(sorted(scores, reverse=True), key=scores.__getitem__, reverse=True)[:most]
