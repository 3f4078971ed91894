"""The one versioned byte form of a message body, the same in every engine.

    body = format (1 byte) + payload + CRC-32 of both (4 bytes, little-endian)

Format `T`: the payload is UTF-8 text, and the content is that one text part and nothing else. Format `J`: the payload
is the JSON of `domain.wire`. The checksum is verified when a row is read, so that decoding can wait until it is
needed; a new form takes a new letter, which older releases report as unreadable and leave alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from zlib import crc32

from chatkeep.domain.errors import CorruptRecord, Invalid
from chatkeep.domain.limits import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    MAX_MESSAGE_BYTES,
    check_json,
    check_size,
)
from chatkeep.domain.messages import Content, Feedback, Foreign, NewMessage, Text, joined_text, plain_text
from chatkeep.domain.sessions import dump
from chatkeep.domain.wire import content_from_json, content_to_json

_TEXT = b"T"
_JSON = b"J"
_KINDS = b"TJ"
_CHECKSUM_BYTES = 4
_PAYLOAD = slice(1, -_CHECKSUM_BYTES)

_SOUND = 0x2144DF1C
"""The CRC-32 of whatever ends with its own CRC-32."""

EMPTY_BODY = b""
"""The body of a redacted message."""


def _framed(kind: bytes, payload: bytes) -> bytes:
    framed = kind + payload
    return framed + crc32(framed).to_bytes(_CHECKSUM_BYTES, "little")


def encode(content: Content) -> bytes:
    """Return the body of `content`. Raises Invalid for text with lone surrogates outside of foreign items."""
    parts = content.parts
    try:
        plain = plain_text(content)
        if plain is not None:
            return _framed(_TEXT, plain.encode())
        document = content_to_json(content)
        for name, value in document.items():
            if name != "parts":
                check_json(value, name)
        for part, fields in zip(parts, document.get("parts", ()), strict=True):
            for name, value in fields.items():
                check_json(value, name, surrogates=type(part) is Foreign and name == "item")
        escape = any(type(part) is Foreign for part in parts)
        text = json.dumps(document, ensure_ascii=escape, separators=(",", ":"), allow_nan=False)
        return _framed(_JSON, text.encode())
    except (UnicodeEncodeError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Invalid(f"the message cannot be written as JSON: {error}") from error


def encode_batch(messages: Sequence[NewMessage]) -> list[bytes]:
    """Return the bodies of 1 to 100 messages. Raises Invalid or LimitExceeded."""
    if not messages:
        raise Invalid("an append needs at least one message", field="messages")
    check_size("messages in one append", len(messages), MAX_BATCH_MESSAGES, "messages")
    bodies = [encode(message.content) for message in messages]
    for body in bodies:
        check_size("message", len(body), MAX_MESSAGE_BYTES)
    check_size("append", sum(map(len, bodies)), MAX_BATCH_BYTES)
    return bodies


def encode_feedback(feedback: Feedback | None) -> str | None:
    """Return the stored text of a feedback."""
    if feedback is None:
        return None
    fields = {"rating": feedback.rating, "comment": feedback.comment}
    return dump({name: value for name, value in fields.items() if value is not None})


def fault(body: bytes) -> str | None:
    """Return why `body` cannot be decoded, or None if it can."""
    if not body:
        return None
    if crc32(body) != _SOUND:
        return "the checksum of the body does not match"
    if body[0] not in _KINDS:
        return f"unknown body format {body[:1]!r}"
    return None


def is_sound(body: bytes) -> bool:
    """Return whether `body` certainly has no `fault`; an empty one has none either, but that is rare."""
    return crc32(body) == _SOUND and body[0] in _KINDS


class _Decode:
    """Reads a body that has no `fault`. Raises CorruptRecord if it was not written by `encode`."""

    __slots__ = ()

    def __call__(self, body: bytes, /) -> Content:
        if not body:
            return Content()
        try:
            if body[:1] == _TEXT:
                return Content(parts=(Text(body[_PAYLOAD].decode()),))
            return content_from_json(json.loads(body[_PAYLOAD]))
        except (ValueError, TypeError, AttributeError, RecursionError, Invalid) as error:
            raise _undecodable(error) from error

    def text(self, body: bytes, /) -> str:
        if body[:1] != _TEXT:
            return joined_text(self(body))
        try:
            return body[_PAYLOAD].decode()
        except UnicodeDecodeError as error:
            raise _undecodable(error) from error

    def plain(self, body: bytes, /) -> str | None:
        return self.text(body) if body[:1] == _TEXT else None


def _undecodable(error: Exception) -> CorruptRecord:
    return CorruptRecord(f"a message body cannot be decoded: {error}")


decode = _Decode()
"""Reads bodies, for `Message`."""
