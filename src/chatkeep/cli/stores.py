"""What can be said of a store by its URL alone."""

from __future__ import annotations

import re
from pathlib import Path

_PASSWORD = re.compile(r"^([^:/?#]+://[^:/?#]*:)[^/?#]*@")
_SECRET = re.compile(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]*")
HIDDEN = "***"


def public_url(url: str) -> str:
    """Return the URL as it may be shown: without its passwords."""
    return _SECRET.sub(rf"\g<1>{HIDDEN}", _PASSWORD.sub(rf"\g<1>{HIDDEN}@", url))


def file_of(url: str) -> Path | None:
    """Return the SQLite file that the URL names; None for other engines. Raises Invalid."""
    from chatkeep.engines import sqlite_path  # noqa: PLC0415 -- `--help` needs no store

    return sqlite_path(url) if url.partition(":")[0].lower() == "sqlite" else None
