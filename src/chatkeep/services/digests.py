"""What makes two requests the same request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import NewMessage, plain_text, to_us
from chatkeep.domain.wire import content_to_json


def _canonical(value: object) -> bytes:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(f"this cannot be written as JSON: {error}") from error


def digest_of(value: object) -> bytes:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(_canonical(value)).digest()


def digest_of_messages(messages: Sequence[NewMessage], *, parent_seq: int | None) -> bytes:
    """Return the digest of an append: what the caller asked for, without what the service adds.

    The order of keys in the JSON of a message makes no difference. Raises Invalid for what is no JSON.
    """
    digest = hashlib.sha256(b"%d" % (-1 if parent_seq is None else parent_seq))
    for message in messages:
        created_us = None if message.created_at is None else to_us(message.created_at)
        plain = plain_text(message.content)
        said = _canonical(content_to_json(message.content)) if plain is None else plain.encode()
        kind = "json" if plain is None else "text"
        digest.update(f"\n{message.role} {message.status} {created_us} {kind} {len(said)}\n".encode())
        digest.update(said)
    return digest.digest()
