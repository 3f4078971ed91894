"""The one versioned byte form of a message body, the same in every engine.

    body = format (1 byte) + CRC-32 of the payload (4 bytes, big-endian) + payload

Format `T`: the payload is UTF-8 text, and the content is that one text part and nothing else. Format `J`: the payload
is the JSON of `domain.wire`. The checksum is verified when a row is read, so that decoding can wait until it is
needed; a new form takes a new letter, which older releases report as unreadable and leave alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from struct import Struct
from zlib import crc32

from chatkeep.domain.errors import CorruptRecord, Invalid
from chatkeep.domain.limits import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    MAX_MESSAGE_BYTES,
    check_json,
    check_size,
)
from chatkeep.domain.messages import Content, Feedback, Foreign, NewMessage, Text, joined_text
from chatkeep.domain.sessions import dump
from chatkeep.domain.wire import content_from_json, content_to_json

_TEXT = 0x54
_JSON = 0x4A
_KINDS = frozenset({_TEXT, _JSON})
_HEADER = Struct(">BI")
_HEADER_BYTES = _HEADER.size
_REDACTED = b""

EMPTY_BODY = _REDACTED
"""The body of a redacted message."""


def _framed(kind: int, payload: bytes) -> bytes:
    return _HEADER.pack(kind, crc32(payload)) + payload


def _has_only_parts(content: Content) -> bool:
    """Return whether everything but the parts is as it is by default; much faster than comparing with a default."""
    return (
        content.agent_name is None
        and content.model is None
        and content.finish_reason is None
        and content.usage is None
        and content.duration_ms is None
        and content.query_summary is None
        and content.run_id is None
        and content.error is None
        and not (content.sources or content.suggestions or content.metadata)
    )


def encode(content: Content) -> bytes:
    """Return the body of `content`. Raises Invalid for text with lone surrogates outside of foreign items."""
    parts = content.parts
    try:
        if len(parts) == 1 and type(parts[0]) is Text and _has_only_parts(content):
            return _framed(_TEXT, parts[0].text.encode())
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
    if len(body) < _HEADER_BYTES:
        return "the body is cut off"
    kind, checksum = _HEADER.unpack_from(body)
    if kind not in _KINDS:
        return f"unknown body format {body[:1]!r}"
    if crc32(body[_HEADER_BYTES:]) != checksum:
        return "the checksum of the body does not match"
    return None


class _Decode:
    """Reads a body that has no `fault`. Raises CorruptRecord if it was not written by `encode`."""

    __slots__ = ()

    def __call__(self, body: bytes, /) -> Content:
        if not body:
            return Content()
        try:
            if body[0] == _TEXT:
                return Content(parts=(Text(body[_HEADER_BYTES:].decode()),))
            return content_from_json(json.loads(body[_HEADER_BYTES:]))
        except (ValueError, TypeError, AttributeError, RecursionError, Invalid) as error:
            raise _undecodable(error) from error

    def text(self, body: bytes, /) -> str:
        if not body or body[0] != _TEXT:
            return joined_text(self(body))
        try:
            return body[_HEADER_BYTES:].decode()
        except UnicodeDecodeError as error:
            raise _undecodable(error) from error


def _undecodable(error: Exception) -> CorruptRecord:
    return CorruptRecord(f"a message body cannot be decoded: {error}")


decode = _Decode()
"""Reads bodies, for `Message`."""
