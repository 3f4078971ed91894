"""Chat, runs, search and transfer over the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from chatkeep.api.schemas.basics import Asking, Moment, Name, Telling
from chatkeep.api.schemas.messages import NewMessage, Source, Usage, Words
from chatkeep.services.incognito import MAX_TRANSCRIPT_MESSAGES

Busy = Annotated[
    Literal["reject", "queue", "interrupt"],
    Field(description="While the session is answering: 409, wait behind, or cancel the answer under way and wait."),
]
Stream = Annotated[bool, Field(description="False, or `Accept: application/json`: one JSON object at the end.")]


class Choices(Asking):
    """Who shall answer and how. None: the default, or the agent whose description fits."""

    agent: Name | None = None
    model: Name | None = None
    when_busy: Busy = "reject"
    stream: Stream = True


class Chat(Choices):
    """A message to answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message": "Where is my refund?"}]})

    message: Words


class IncognitoChat(Asking):
    """A message to answer, with all that was said before; nothing of it is kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "transcript": [
                        {"role": "user", "parts": [{"type": "text", "text": "My name is Ada."}]},
                        {"role": "assistant", "parts": [{"type": "text", "text": "Hello Ada."}]},
                    ],
                    "message": "What is my name?",
                }
            ]
        }
    )

    transcript: Annotated[list[NewMessage], Field(max_length=MAX_TRANSCRIPT_MESSAGES)] = Field(default_factory=list)
    message: Words
    agent: Name | None = None
    model: Name | None = None
    stream: Stream = True


class IncognitoAnswer(Telling):
    """An answer that was stored nowhere."""

    message: str
    answer: str
    sources: list[Source]
    suggestions: list[str]
    usage: Usage | None
    status: Literal["complete", "partial", "cancelled", "failed", "interrupted"]


class Answer(IncognitoAnswer):
    """A whole answer. `message` is the question's text; `message_seq` is where the answer is stored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": "k7ktqh2m4cz6nq4y5xw3v2bd7u",
                    "message": "Where is my refund?",
                    "answer": "On its way.",
                    "sources": [],
                    "suggestions": [],
                    "usage": None,
                    "status": "complete",
                    "run_id": "4xw3v2bd7uk7ktqh2m4cz6nq4y",
                    "message_seq": 2,
                }
            ]
        }
    )

    session_id: str
    run_id: str
    message_seq: int | None


class Run(Telling):
    """One generation of an answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "4xw3v2bd7uk7ktqh2m4cz6nq4y",
                    "session_id": "k7ktqh2m4cz6nq4y5xw3v2bd7u",
                    "status": "complete",
                    "created_at": "2026-01-05T09:30:11.400Z",
                    "finished_at": "2026-01-05T09:30:12.250Z",
                    "message_seq": 2,
                    "error": None,
                }
            ]
        }
    )

    id: str
    session_id: str
    status: Literal["queued", "running", "complete", "cancelled", "failed", "interrupted"]
    created_at: Moment
    finished_at: Moment | None
    message_seq: int | None
    error: str | None


class Hit(Telling):
    """A message, or with `seq` null a title, that holds the words. `highlights`: [start, end] in code points."""

    session_id: str
    title: str
    state: Literal["active", "pinned", "unpinned", "archived", "trashed"]
    seq: int | None
    snippet: str
    highlights: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    at: Moment


class HitList(Telling):
    """A page of hits, newest first."""

    items: list[Hit]
    next_cursor: str | None


class ImportedSession(Telling):
    """What became of one session. `reason` is empty when all is well."""

    session_id: str | None
    outcome: Literal["created", "continued", "unchanged", "conflict", "invalid"]
    messages_added: int
    reason: str


class ImportReport(Telling):
    """What an import did, or would do. `items` holds the first 1,000 outcomes."""

    dry_run: bool
    lines: int
    created: int
    continued: int
    unchanged: int
    conflict: int
    invalid: int
    messages: int
    items: list[ImportedSession]


class Live(Telling):
    """The process answers."""

    status: Literal["ok"]


class Ready(Telling):
    """Whether requests can be served now."""

    status: Literal["ok", "unavailable"]
    store: str


class SessionsHealth(Telling):
    """Each component. `redis_healthy` null: there is no cache. `active_sessions` counts up to 10,000."""

    status: Literal["ok", "unavailable"]
    store: str
    store_healthy: bool
    redis_healthy: bool | None
    active_sessions: int | None
    active_runs: int
    model: str
    notice: str | None
