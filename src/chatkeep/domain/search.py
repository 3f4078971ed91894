"""What counts as a word, for every way of searching, and how a hit is shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

MAX_WORDS = 16
SNIPPET_CHARS = 160
"""How many code points of the text a snippet shows at most; ellipses come on top."""

_LEAD_CHARS = 40
_WORD = re.compile(r"[^\W_]+")
_ASCII_BREAKS = {code: " " for code in range(128) if not chr(code).isalnum()}


def _folded(text: str) -> str:
    """Fold case and drop diacritics; the fold of a text is the folds of its characters, one after the other."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(char for char in plain if not unicodedata.combining(char))


def words(text: str) -> list[str]:
    """Return the words of `text` in order: runs of letters and digits, case-folded, without diacritics."""
    if text.isascii():
        return text.lower().translate(_ASCII_BREAKS).split()  # the same, five times as fast
    return _WORD.findall(_folded(text))


def matches(found: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether the words `found` hold all of `wanted`, which is not empty, the last one as a prefix."""
    held = set(found)
    return all(word in held for word in wanted[:-1]) and any(word.startswith(wanted[-1]) for word in held)


def snippet(text: str, wanted: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the part of `text` around the first of the `wanted` words, and where they stand in it.

    At most SNIPPET_CHARS code points of the text, cut between words where there is white space, each white-space
    character as a space, and an ellipsis where something was left out. The places are (start, end) in code points of
    the snippet, ascending, apart from each other: whole words that equal one of `wanted` or begin with the last.
    Without any of them in the text: its beginning, and no places.
    """
    spans = list(_spans(text, wanted))
    first = spans[0] if spans else (0, 0)
    start, end = _window(text, first)
    before = "\N{HORIZONTAL ELLIPSIS}" if start > 0 else ""
    after = "\N{HORIZONTAL ELLIPSIS}" if end < len(text) else ""
    shown = "".join(" " if char.isspace() else char for char in text[start:end])
    shift = len(before) - start
    places = ((low + shift, min(high, end) + shift) for low, high in spans if start <= low < end)
    return before + shown + after, tuple(places)


def _spans(text: str, wanted: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where words stand in `text` itself, ascending, without overlaps; folding may change lengths."""
    folded, origins = _mapped(text)
    whole, prefix = frozenset(wanted[:-1]), wanted[-1]
    reached = 0
    for match in _WORD.finditer(folded):
        if match.group() not in whole and not match.group().startswith(prefix):
            continue
        low, high = origins[match.start()], origins[match.end() - 1] + 1
        while high < len(text) and unicodedata.combining(text[high]):
            high += 1
        if low >= reached:
            yield low, high
            reached = high


def _mapped(text: str) -> tuple[str, Sequence[int]]:
    """Return the folded text, and for each of its characters the index of the one in `text` that it comes from."""
    if text.isascii():
        return text.lower(), range(len(text))
    known: dict[str, str] = {}
    pieces: list[str] = []
    origins: list[int] = []
    for at, char in enumerate(text):
        piece = known.get(char)
        if piece is None:
            piece = known[char] = _folded(char)
        pieces.append(piece)
        origins.extend([at] * len(piece))
    return "".join(pieces), origins


def _window(text: str, match: tuple[int, int]) -> tuple[int, int]:
    """Return which part of `text` to show so that the match is in it, as far as it fits."""
    low, high = match
    start = max(0, min(low - _LEAD_CHARS, len(text) - SNIPPET_CHARS))
    if start > 0 and not text[start - 1].isspace():
        start = next((at + 1 for at in range(start, low) if text[at].isspace()), start)
        while start < low and unicodedata.combining(text[start]):
            start += 1
    end = min(len(text), start + SNIPPET_CHARS)
    if end < len(text) and not text[end].isspace():
        end = next((at for at in range(end - 1, max(high, start) - 1, -1) if text[at].isspace()), end)
        while end > start + 1 and unicodedata.combining(text[end]):
            end -= 1
    return start, end
