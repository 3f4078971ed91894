"""Titles and one-line previews made from text, without a model."""

from __future__ import annotations

TITLE_CHARS = 50
_SPARE = 20
"""The line that is wanted is nearly always in so much more than its length of the text."""


def shortened(text: str, most: int) -> str:
    """Return `text` on one line in at most `most` code points, cut at the end of a word and marked by an ellipsis."""
    beginning = text[: most + _SPARE]
    line = " ".join(beginning.split())
    if len(line) <= most and len(beginning) < len(text):  # mostly white space
        line = " ".join(text.split(None, most + 1)[: most + 1])  # so many words are longer than that
    return cut_line(line, most)


def cut_line(line: str, most: int) -> str:
    """Return a text that is one line already, as `shortened` does."""
    if len(line) <= most:
        return line
    cut = line[: most - 1]
    if line[most - 1] != " " and " " in cut:
        cut = cut[: cut.rindex(" ")]
    return cut.rstrip(" ,;:.-") + "…"


def auto_title(text: str) -> str:
    """Return the title that a session gets from its first user message; empty for a message without words."""
    return shortened(text, TITLE_CHARS)
