"""Messages on their way into a log, many at a time."""

from __future__ import annotations

import hashlib
import json

from chatkeep.domain.limits import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from chatkeep.domain.messages import Content, Foreign, NewMessage, to_us
from chatkeep.domain.wire import content_to_json

_ROOM_BYTES = MAX_BATCH_BYTES // 2
"""Leaves engines and wrappers room for what they add."""


def content_text(content: Content) -> str:
    """Return the content as JSON text that equal contents share, told apart by key order and kinds of numbers too."""
    escape = any(type(part) is Foreign for part in content.parts)
    return json.dumps(content_to_json(content), ensure_ascii=escape, separators=(",", ":"), allow_nan=False)


class Batch:
    """Messages for one append, at most as many and as large as every engine takes at once."""

    def __init__(self) -> None:
        self.messages: list[NewMessage] = []
        self._texts: list[str] = []
        self._bytes = 0

    def admits(self, content: Content) -> bool:
        """Return whether there is room for one more; an empty batch has room for any message."""
        if not self.messages:
            return True
        size = len(content_text(content).encode())
        return len(self.messages) < MAX_BATCH_MESSAGES and self._bytes + size <= _ROOM_BYTES

    def add(self, message: NewMessage) -> None:
        """Put a message behind the others."""
        text = content_text(message.content)
        self.messages.append(message)
        self._texts.append(text)
        self._bytes += len(text.encode())

    @property
    def digest(self) -> bytes:
        """What tells this batch from every other: 32 bytes."""
        told = [
            (message.role, message.status, None if message.created_at is None else to_us(message.created_at), text)
            for message, text in zip(self.messages, self._texts, strict=True)
        ]
        return hashlib.sha256(json.dumps(told).encode()).digest()
