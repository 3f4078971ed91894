"""Messages: what a caller appends, and what the log gives back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

JsonValue = Any
"""Whatever `json.loads` returns: None, bool, int, finite float, str, list, dict with str keys."""

Role = Literal["user", "assistant", "system", "tool"]
ROLES: tuple[Role, ...] = ("user", "assistant", "system", "tool")

MessageStatus = Literal["complete", "partial", "cancelled", "failed", "interrupted"]
STATUSES: tuple[MessageStatus, ...] = ("complete", "partial", "cancelled", "failed", "interrupted")
"""Stored statuses. A message that is being written has none of them: it is shown as `streaming` from its run."""


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    type: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool; `id` pairs it with its result."""

    type: ClassVar[str] = "tool_call"
    id: str
    name: str
    arguments: JsonValue


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back for the call `id`."""

    type: ClassVar[str] = "tool_result"
    id: str
    content: JsonValue
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A reference to a file or an image: a URL or the SHA-256 (64 hex digits) of its content, never the bytes."""

    type: ClassVar[str] = "file"
    media_type: str
    url: str | None = None
    sha256: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought aloud."""

    type: ClassVar[str] = "reasoning"
    text: str


@dataclass(frozen=True, slots=True)
class Data:
    """A named value of the application's own."""

    type: ClassVar[str] = "data"
    name: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Foreign:
    """An item of another system, kept as it is.

    A str is kept byte for byte; any other JSON value comes back equal, with its key order, number kinds and escapes of
    lone surrogates. `format` names the system, such as `openai.responses`.
    """

    type: ClassVar[str] = "foreign"
    format: str
    item: JsonValue


Part = Text | ToolCall | ToolResult | File | Reasoning | Data | Foreign


@dataclass(frozen=True, slots=True)
class Source:
    """A search result that an answer rests on."""

    title: str
    url: str | None = None
    snippet: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; None where it said nothing."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """The reader's judgement of one message."""

    rating: Literal["up", "down"] | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything of a message that redaction removes.

    `run_id` names the run that wrote the message. `query_summary` is one line of at most 100 characters. `context` is
    the report of what the model saw when it wrote the message, in seqs and numbers (`domain.reports`).
    """

    parts: tuple[Part, ...] = ()
    agent_name: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    duration_ms: int | None = None
    sources: tuple[Source, ...] = ()
    suggestions: tuple[str, ...] = ()
    query_summary: str | None = None
    run_id: str | None = None
    error: str | None = None
    context: dict[str, JsonValue] | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to append. The store gives it its seq and, where None, `created_at` (its clock) and its id.

    `uid` is for copies from one store to another: the 16 bytes that the message had there.
    """

    role: Role
    content: Content
    status: MessageStatus = "complete"
    created_at: datetime | None = None
    uid: bytes | None = None


class Decode(Protocol):
    """Reads stored bodies."""

    def __call__(self, body: bytes, /) -> Content:
        """Return all of the content."""

    def text(self, body: bytes, /) -> str:
        """Return `joined_text` of the content; quickly where there is nothing but a text."""

    def plain(self, body: bytes, /) -> str | None:
        """Return `plain_text` of the content; quickly in either case."""


def plain_text(content: Content) -> str | None:
    """Return the text of a content that is one text and nothing else, as most are; None for any other."""
    parts = content.parts
    if (
        len(parts) == 1
        and type(parts[0]) is Text
        and content.agent_name is None
        and content.model is None
        and content.finish_reason is None
        and content.usage is None
        and content.duration_ms is None
        and content.query_summary is None
        and content.run_id is None
        and content.error is None
        and content.context is None
        and not (content.sources or content.suggestions or content.metadata)
    ):
        return parts[0].text
    return None


def joined_text(content: Content) -> str:
    """Return the text parts, joined by blank lines."""
    return "\n\n".join(part.text for part in content.parts if isinstance(part, Text))


class MessageRow(NamedTuple):
    """The columns of a stored message as an engine reads them; `body` is decoded when something asks for it."""

    seq: int
    parent_seq: int
    uid: bytes
    role: Role
    status: MessageStatus
    created_at_us: int
    """Microseconds since 1970-01-01T00:00Z."""
    blanked: int
    """1 after redaction, else 0."""
    feedback_json: str | None
    body: bytes
    decode: Decode


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware datetime."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_us(microseconds: int) -> datetime:
    """Return the aware UTC datetime of `microseconds` since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


class Message(MessageRow):
    """A stored message: final, except for feedback and redaction.

    Its engine checked the integrity of the body when it read the row, so that looking at the content later cannot fail.
    Fields are meant to be used by name; the tuple behind it is an implementation detail.
    """

    def __repr__(self) -> str:
        """Return what it is, not what it says: a message that ends up in a log gives nothing away."""
        return f"Message(seq={self.seq}, role={self.role!r}, status={self.status!r}, {len(self.body)} bytes)"

    @cached_property
    def content(self) -> Content:
        """All that redaction would remove."""
        return self.decode(self.body)

    @property
    def id(self) -> str:
        """32 hex digits, unique in the session, the same on a repeat of the append."""
        return self.uid.hex()

    @property
    def created_at(self) -> datetime:
        """When it was written, as its writer said or else by the store's clock; never used for order."""
        return from_us(self.created_at_us)

    @property
    def redacted(self) -> bool:
        """Whether the content was removed."""
        return self.blanked == 1

    @property
    def feedback(self) -> Feedback | None:
        """The reader's judgement, if any."""
        return None if self.feedback_json is None else Feedback(**json.loads(self.feedback_json))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content's parts, in order; empty after redaction."""
        return self.content.parts

    @cached_property
    def uses_tools(self) -> bool:
        """Whether one of the parts is a call of a tool or what a tool gave back."""
        return any(isinstance(part, ToolCall | ToolResult) for part in self.content.parts)

    @property
    def text(self) -> str:
        """The text parts, joined by blank lines."""
        return self.decode.text(self.body)

    @property
    def plain_text(self) -> str | None:
        """The text of a content that is one text and nothing else, as most are; None for any other."""
        return self.decode.plain(self.body)

    @property
    def metadata(self) -> dict[str, JsonValue]:
        """The caller's own values."""
        return self.content.metadata


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in the place of a stored message whose row cannot be decoded. The row itself is left as it is."""

    seq: int
    reason: str
    uses_tools: ClassVar[bool] = False


def _message(role: Role, said: tuple[str | Part, ...], fields: dict[str, Any]) -> NewMessage:
    parts = tuple(Text(part) if isinstance(part, str) else part for part in said)
    status = fields.pop("status", "complete")
    created_at = fields.pop("created_at", None)
    return NewMessage(role, Content(parts=parts, **fields), status, created_at)


def user(*said: str | Part, **fields: Any) -> NewMessage:
    """Return a user message of texts and parts; `fields` are those of Content, `status` and `created_at`."""
    return _message("user", said, fields)


def assistant(*said: str | Part, **fields: Any) -> NewMessage:
    """Return an assistant message; arguments as of `user`."""
    return _message("assistant", said, fields)


def system(*said: str | Part, **fields: Any) -> NewMessage:
    """Return a system message; arguments as of `user`."""
    return _message("system", said, fields)


def tool(*said: str | Part, **fields: Any) -> NewMessage:
    """Return a tool message; arguments as of `user`."""
    return _message("tool", said, fields)
