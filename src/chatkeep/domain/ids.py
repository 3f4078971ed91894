"""Identifiers: what is accepted, and how new ones are made."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import secrets
import time

from chatkeep.domain.errors import Invalid, LimitExceeded

MAX_ID_BYTES = 256


def check_id(value: str, field: str) -> str:
    """Return `value` if it is any text of 1 to 256 bytes of UTF-8; raise Invalid or LimitExceeded otherwise."""
    if not isinstance(value, str):
        raise Invalid(f"{field} must be text, not {type(value).__name__}", field=field)
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError as error:
        raise Invalid(f"{field} holds a lone surrogate, which no text may", field=field) from error
    if size == 0:
        raise Invalid(f"{field} must not be empty", field=field)
    if size > MAX_ID_BYTES:
        raise LimitExceeded(field, actual=size, limit=MAX_ID_BYTES, unit="bytes")
    return value


def new_id() -> str:
    """Return 128 random bits as 26 lower-case base32 characters; for sessions, runs and incarnations."""
    return base64.b32encode(secrets.token_bytes(16)).decode("ascii").rstrip("=").lower()


class _Origin:
    """What the process puts before its keys, drawn anew in a child that was forked."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._draw()
        os.register_at_fork(after_in_child=self._draw)

    def _draw(self) -> None:
        self._drawn = secrets.token_hex(8)

    def key(self) -> str:
        """Return a text that is never returned again."""
        return f"{self._drawn}.{next(self._numbers):x}.{time.time_ns():x}"


_origin = _Origin()


def new_key() -> str:
    """Return an idempotency key that no call in any process returns again; no secret.

    No random bytes are asked of the system, which would hand the interpreter to another thread each time. The time in
    it parts copies of a machine that was frozen and goes on twice.
    """
    return _origin.key()


def derived_id(*parts: str) -> str:
    """Return 128 bits, as 26 lower-case base32 characters, that depend on all `parts` and on their borders."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return base64.b32encode(digest.digest()[:16]).decode("ascii").rstrip("=").lower()


MESSAGE_UID_BYTES = 16


def message_uids(session_id: str, idempotency_key: str, count: int) -> list[bytes]:
    """Return the 16 bytes that identify each of the `count` messages of an append; a repeat gives the same."""
    head = session_id.encode()
    body = len(head).to_bytes(4, "big") + head + idempotency_key.encode()
    return [hashlib.sha256(body + index.to_bytes(4, "big")).digest()[:MESSAGE_UID_BYTES] for index in range(count)]
