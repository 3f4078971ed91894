"""What makes two requests the same request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import NewMessage, to_us
from chatkeep.domain.wire import content_to_json


def digest_of(value: object) -> bytes:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(f"this cannot be written as JSON: {error}") from error
    return hashlib.sha256(text.encode()).digest()


def digest_of_messages(messages: Sequence[NewMessage], *, parent_seq: int | None) -> bytes:
    """Return the digest of an append: what the caller asked for, without what the service adds."""
    return digest_of(
        [
            parent_seq,
            *(
                [
                    message.role,
                    message.status,
                    None if message.created_at is None else to_us(message.created_at),
                    content_to_json(message.content),
                ]
                for message in messages
            ),
        ]
    )
