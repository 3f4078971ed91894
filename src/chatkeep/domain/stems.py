"""Words reduced to what their forms have in common, for finding old messages by what they are about.

English endings and irregular forms are reduced; text in scripts that do not part words is cut into pairs of
characters; words of other languages stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from chatkeep.domain.search import words

_COMMON_WORDS = """
    a about above after again all also am an and any are aren as at be been being below between both but by can
    cannot could couldn d did didn do does doesn doing don down during each few for from further had hadn has hasn have
    haven having he her here hers herself him himself his how i if in into is isn it its itself just let lets ll m ma
    many may me might more most much must my myself no nor not now o of off on once only or other our ours out over own
    re s same shan she should so some such t than that the their theirs them then there these they this those through
    to too under until up us ve very was wasn we were weren what when where which while who whom why will with won
    would y you your yours yourself get got getting hello hey hi oh ok okay really thank thanks well wow yeah yes like
"""
_COMMON = frozenset(_COMMON_WORDS.split())
"""Words that stand in so many messages that they tell nothing about one."""

_FORMS = """
    go went gone goes | buy bought | see saw seen | eat ate eaten | give gave given | take took taken | make made
    come came | become became | begin began begun | write wrote written | run ran | win won | lose lost | find found
    meet met | think thought | teach taught | catch caught | bring brought | know knew known | grow grew grown
    fly flew flown | draw drew drawn | drive drove driven | ride rode ridden | speak spoke spoken | sell sold
    break broke broken | choose chose chosen | tell told | feel felt | leave left | keep kept | sleep slept
    hear heard | hold held | spend spent | send sent | build built | pay paid | say said | sing sang sung
    swim swam swum | drink drank drunk | wear wore worn | fight fought | fall fell fallen | understand understood
    stand stood | hide hid hidden | bite bit bitten | forget forgot forgotten | steal stole stolen | shoot shot
    lead led | feed fed | sit sat | throw threw thrown | child children kid | person people | man men | woman women
    mouse mice | foot feet | tooth teeth | wife wives | life lives | knife knives | leaf leaves
    mother mom mum | father dad | picture photo photograph pic | television tv | bicycle bike
    favorite favourite | color colour
"""
_IRREGULAR = {form: forms[0] for forms in (line.split() for line in re.split(r"[|\n]", _FORMS)) for form in forms}

_ENDINGS = (
    ("ization", "iz"),
    ("isation", "iz"),
    ("ational", "at"),
    ("ation", "at"),
    ("fulness", "ful"),
    ("iveness", "iv"),
    ("ousness", "ous"),
    ("ement", ""),
    ("ment", ""),
    ("ness", ""),
    ("tional", "tion"),
    ("ingly", ""),
    ("edly", ""),
    ("ably", "abl"),
    ("ally", "al"),
    ("ily", "y"),
    ("ly", ""),
)
_SHORT = 4
_STEM = 3
_UNPARTED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_VOWEL = re.compile("[aeiouy]")


def stems(text: str) -> list[str]:
    """Return the stems of the words of `text`, in order, without those that tell nothing."""
    return stems_of(words(text))


def stems_of(found: Iterable[str]) -> list[str]:
    """Return the stems of words as `words` returns them, in order, without those that tell nothing."""
    return [stem for word in found if word not in _COMMON for stem in _stems_of(word)]


def _stems_of(word: str) -> Iterator[str]:
    if word.isascii() or not _UNPARTED.search(word):
        yield _stem(word)
        return
    for run in re.split(f"({_UNPARTED.pattern})", word):
        if len(run) > 1 and _UNPARTED.match(run):
            yield from (run[at : at + 2] for at in range(len(run) - 1))
        elif run:
            yield run


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    word = _IRREGULAR.get(word, word)
    if len(word) < _SHORT or not word.isascii() or not word.isalpha():
        return word
    word = _IRREGULAR.get(_without_plural(word), _without_plural(word))
    word = _without_inflection(word)
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            word = word[: -len(ending)] + instead
            break
    if word.endswith(("tion", "sion")) and len(word) > _SHORT + 1:
        word = word[:-3]
    if word.endswith("ate") and len(word) > _SHORT + 1:
        word = word[:-1]
    if word.endswith(("er", "or")) and len(word) > _SHORT + 1:
        word = _undoubled(word[:-2])
    if word.endswith("e") and len(word) > _STEM:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > _STEM else word


def _without_plural(word: str) -> str:
    if word.endswith("ies") and len(word) > _SHORT:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _without_inflection(word: str) -> str:
    for ending in ("ing", "ed"):
        stem = word[: -len(ending)]
        if word.endswith(ending) and len(stem) >= _STEM and _VOWEL.search(stem):
            return _undoubled(stem)
    return word


def _undoubled(stem: str) -> str:
    return stem[:-1] if len(stem) > _STEM and stem[-1] == stem[-2] and stem[-1] not in "lsz" else stem
