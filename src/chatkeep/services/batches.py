"""Messages on their way into a log, many at a time."""

from __future__ import annotations

import json

from chatkeep.domain.limits import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from chatkeep.domain.messages import Content, Foreign, NewMessage
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
        self._bytes = 0

    def take(self, message: NewMessage) -> bool:
        """Put a message behind the others and return True, or False when there is no room; an empty batch has room."""
        size = len(content_text(message.content).encode())
        if self.messages and (len(self.messages) == MAX_BATCH_MESSAGES or self._bytes + size > _ROOM_BYTES):
            return False
        self.messages.append(message)
        self._bytes += size
        return True
