"""What counts as a word, for every way of searching."""

from __future__ import annotations

import re
import unicodedata

MAX_WORDS = 16

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Return the words of `text` in order: runs of letters and digits, case-folded, without diacritics."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(char for char in folded if not unicodedata.combining(char)))
