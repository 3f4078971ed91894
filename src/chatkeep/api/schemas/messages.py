"""Messages over the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from chatkeep.api.schemas.basics import Asking, Count, Metadata, Moment, Name, Seq, Telling
from chatkeep.domain import messages as domain
from chatkeep.domain.limits import MAX_BATCH_MESSAGES, MAX_COMMENT_CHARS, MAX_MESSAGE_BYTES
from chatkeep.domain.wire import part_from_json

Words = Annotated[str, Field(max_length=MAX_MESSAGE_BYTES)]
Role = Literal["user", "assistant", "system", "tool"]
Status = Literal["complete", "partial", "cancelled", "failed", "interrupted"]


class TextPart(Asking):
    """Words."""

    type: Literal["text"]
    text: Words


class ToolCallPart(Asking):
    """The model asks for a tool."""

    type: Literal["tool_call"]
    id: Name
    name: Name
    arguments: Any


class ToolResultPart(Asking):
    """What a tool gave back for the call `id`."""

    type: Literal["tool_result"]
    id: Name
    content: Any
    is_error: bool = False


class FilePart(Asking):
    """A reference to a file: either its `url` or the `sha256` of its content."""

    type: Literal["file"]
    media_type: Name
    url: Annotated[str | None, Field(max_length=8_192)] = None
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    name: Annotated[str | None, Field(max_length=1_024)] = None


class ReasoningPart(Asking):
    """What the model thought aloud."""

    type: Literal["reasoning"]
    text: Words


class DataPart(Asking):
    """A named value of the application's own."""

    type: Literal["data"]
    name: Name
    value: Any


class ForeignPart(Asking):
    """An item of another system, kept as it is."""

    type: Literal["foreign"]
    format: Name
    item: Any


Part = Annotated[
    TextPart | ToolCallPart | ToolResultPart | FilePart | ReasoningPart | DataPart | ForeignPart,
    Field(discriminator="type"),
]


class Source(Asking):
    """A search result that an answer rests on."""

    title: Annotated[str, Field(max_length=1_024)]
    url: Annotated[str | None, Field(max_length=8_192)] = None
    snippet: Annotated[str | None, Field(max_length=16_384)] = None
    score: float | None = None


class Usage(Asking):
    """Tokens as the provider counted them."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cached_tokens: Count | None = None


class Feedback(Asking):
    """The reader's judgement. Without both it is removed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rating": "up", "comment": "exactly"}]})

    rating: Literal["up", "down"] | None = None
    comment: Annotated[str | None, Field(max_length=MAX_COMMENT_CHARS)] = None


Sources = Annotated[list[Source], Field(max_length=64)]
Suggestions = Annotated[list[Annotated[str, Field(max_length=1_024)]], Field(max_length=16)]
Summary = Annotated[str | None, Field(max_length=100)]


class NewMessage(Asking):
    """A message to store."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"role": "user", "parts": [{"type": "text", "text": "Where is my refund?"}]}]}
    )

    role: Role
    parts: Annotated[list[Part], Field(max_length=64)]
    status: Status = "complete"
    created_at: Moment | None = None
    agent_name: Name | None = None
    model: Name | None = None
    finish_reason: Name | None = None
    usage: Usage | None = None
    duration_ms: Count | None = None
    sources: Sources = Field(default_factory=list)
    suggestions: Suggestions = Field(default_factory=list)
    query_summary: Summary = None
    error: Name | None = None
    metadata: Metadata = Field(default_factory=dict)

    def to_domain(self) -> domain.NewMessage:
        """Return the message as the services take it."""
        content = domain.Content(
            parts=tuple(part_from_json(vars(part)) for part in self.parts),
            agent_name=self.agent_name,
            model=self.model,
            finish_reason=self.finish_reason,
            usage=None if self.usage is None else domain.Usage(**vars(self.usage)),
            duration_ms=self.duration_ms,
            sources=sources_of(self.sources),
            suggestions=tuple(self.suggestions),
            query_summary=self.query_summary,
            error=self.error,
            metadata=self.metadata,
        )
        return domain.NewMessage(self.role, content, self.status, self.created_at)


def sources_of(sources: list[Source]) -> tuple[domain.Source, ...]:
    """Return sources as the services take them."""
    return tuple(domain.Source(**vars(source)) for source in sources)


Place = Annotated[Seq | None, Field(description="The message to continue from, 0 for none; else the head.")]
Expected = Annotated[Seq | None, Field(description="Refuse (409) if the last seq is another one.")]


class MessageBatch(Asking):
    """Messages to store, all or nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"messages": [{"role": "user", "parts": [{"type": "text", "text": "Where is my refund?"}]}]}]
        }
    )

    messages: Annotated[list[NewMessage], Field(min_length=1, max_length=MAX_BATCH_MESSAGES)]
    expected_last_seq: Expected = None
    parent_seq: Place = None

    def to_domain(self) -> list[domain.NewMessage]:
        """Return the messages as the services take them."""
        return [message.to_domain() for message in self.messages]


class Turn(Asking):
    """A question and its answer, stored as two messages."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "Where is my refund?", "answer": "On its way."}]}
    )

    question: Words
    answer: Words
    sources: Sources = Field(default_factory=list)
    expected_last_seq: Expected = None
    parent_seq: Place = None

    def to_domain(self) -> list[domain.NewMessage]:
        """Return the messages as the services take them."""
        return [domain.user(self.question), domain.assistant(self.answer, sources=sources_of(self.sources))]


def _form(body: object) -> str:
    return "turn" if isinstance(body, dict) and "question" in body else "batch"


Appending = Annotated[Annotated[MessageBatch, Tag("batch")] | Annotated[Turn, Tag("turn")], Discriminator(_form)]


class Popping(Asking):
    """What to take off the end of the active path."""

    turn: Annotated[bool, Field(description="The newest user message and all behind it, instead of one message.")] = (
        False
    )


class Message(Telling):
    """A stored message. `siblings`: every seq with the same parent, itself included, when there are several."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0f6c1f0f5b0a4f0e9d8c7b6a59483726",
                    "seq": 2,
                    "parent_seq": 1,
                    "role": "assistant",
                    "parts": [{"type": "text", "text": "On its way."}],
                    "status": "complete",
                    "created_at": "2026-01-05T09:30:12.250000Z",
                    "agent_name": None,
                    "model": "echo",
                    "finish_reason": "stop",
                    "usage": None,
                    "duration_ms": 812,
                    "sources": [],
                    "suggestions": [],
                    "query_summary": None,
                    "run_id": "4xw3v2bd7uk7ktqh2m4cz6nq4y",
                    "error": None,
                    "feedback": {"rating": "up", "comment": None},
                    "redacted": False,
                    "metadata": {},
                }
            ]
        }
    )

    id: str
    seq: int
    parent_seq: int
    role: Role
    parts: list[Part]
    status: Status
    created_at: Moment
    agent_name: str | None
    model: str | None
    finish_reason: str | None
    usage: Usage | None
    duration_ms: int | None
    sources: list[Source]
    suggestions: list[str]
    query_summary: str | None
    run_id: str | None
    error: str | None
    feedback: Feedback | None
    redacted: bool
    metadata: Metadata
    siblings: list[int] | None = None


class UnreadableMessage(Telling):
    """Stands in the place of a stored message that cannot be read. Its neighbours are not affected."""

    seq: int
    unreadable: Literal[True]
    reason: str


Entry = Message | UnreadableMessage


class MessageList(Telling):
    """Messages in order."""

    items: list[Entry]
    next_cursor: str | None


class MyMessage(Message):
    """A message, and the session it is in."""

    session_id: str


class MyMessageList(Telling):
    """A page of messages of all sessions, newest first."""

    items: list[MyMessage]
    next_cursor: str | None
