"""The key that signs page cursors, and the file where it lies."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import tempfile
from pathlib import Path

from chatkeep.domain.errors import Invalid
from chatkeep.engines import sqlite_path
from chatkeep.settings import Settings

_log = logging.getLogger(__name__)

_KEY_BYTES = 32


def cursor_secret(settings: Settings) -> bytes:
    """Return the key that signs cursors: the setting, else that of a key file which only its owner can read.

    The file is made at first use. Raises Invalid for a file that holds no key.
    """
    if settings.cursor_secret is not None:
        return settings.cursor_secret.get_secret_value().encode()
    url = settings.url()
    if not url.startswith("sqlite:"):
        _log.warning("page cursors end with this process; set CHATKEEP_CURSOR_SECRET to keep them, on all workers")
        return secrets.token_bytes(_KEY_BYTES)
    path = sqlite_path(url).with_suffix(".cursor-key")
    if not path.exists():
        _make_key(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise Invalid(f"{str(path)!r} holds no key; remove it, and a new one is made")
    return key


def _make_key(path: Path) -> None:
    """Put a new key at `path`, whole from its first moment; one that another process was faster with stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            Path(path).hardlink_to(draft)
    finally:
        Path(draft).unlink()
