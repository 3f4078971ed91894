"""Texts as PostgreSQL can hold them: it takes every character but NUL."""

from __future__ import annotations

_ESCAPE = "\x01"
_NUL, _SELF = "\x01\x01", "\x01\x02"


def stored(text: str) -> str:
    """Return `text` without NUL. Different texts stay different, and their order by bytes is kept."""
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _SELF).replace("\0", _NUL)


def is_plain(stored_text: str) -> bool:
    """Return whether a text is stored as it was given."""
    return _ESCAPE not in stored_text


def told(text: str) -> str:
    """Return what `stored` was given."""
    if _ESCAPE not in text:
        return text
    return text.replace(_NUL, "\0").replace(_SELF, _ESCAPE)
