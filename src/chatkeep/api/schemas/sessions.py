"""Sessions over the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from chatkeep.api.schemas.basics import Asking, Metadata, Moment, Name, Seq, SettableId, Telling, Title
from chatkeep.api.schemas.messages import Entry

SettableState = Literal["active", "pinned", "unpinned", "archived"]
State = Literal["active", "pinned", "unpinned", "archived", "trashed"]

EXAMPLE: JsonDict = {
    "id": "k7ktqh2m4cz6nq4y5xw3v2bd7u",
    "app": "support",
    "title": "Refund",
    "title_source": "user",
    "state": "pinned",
    "pinned_at": "2026-01-05T09:31:00.000Z",
    "created_at": "2026-01-05T09:30:00.000Z",
    "modified_at": "2026-01-05T09:30:12.250Z",
    "expires_at": None,
    "message_count": 2,
    "last_seq": 2,
    "head_seq": 2,
    "active_run_id": None,
    "revision": 2,
    "metadata": {"channel": "web"},
}


class Session(Telling):
    """One conversation's record. `message_count` counts the active path, which ends at `head_seq`."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    app: str
    title: str
    title_source: Literal["auto", "model", "user"]
    state: State
    pinned_at: Moment | None
    created_at: Moment
    modified_at: Moment
    expires_at: Moment | None
    message_count: int
    last_seq: int
    head_seq: int
    active_run_id: str | None
    revision: int
    metadata: Metadata


class SessionWithMessages(Session):
    """A session, and with `include=messages` its newest 50 messages, ascending."""

    messages: list[Entry] | None = None


class SessionList(Telling):
    """A page of sessions, pinned first, then newest activity first."""

    items: list[Session]
    next_cursor: str | None


class UnusedId(Telling):
    """An id that nothing has."""

    id: str


class NewSession(Asking):
    """What a session is created with. Without an `id` the server makes one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Refund", "metadata": {"channel": "web"}}]})

    id: SettableId | None = None
    title: Title = ""
    state: SettableState = "active"
    metadata: Metadata = Field(default_factory=dict)


class EnsuredSession(Asking):
    """What the session gets if it does not exist yet."""

    title: Title = ""
    metadata: Metadata = Field(default_factory=dict)


class SessionChange(Asking):
    """Settings to change; what is left out stays. `metadata` replaces the whole object."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Refund of the blue chair"}]})

    title: Title | None = None
    state: SettableState | None = None
    metadata: Metadata | None = None


class Head(Asking):
    """The message that shall end the active path; 0 for an empty path."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"seq": 4, "whole_branch": True}]})

    seq: Seq
    whole_branch: Annotated[
        bool,
        Field(description="End at the newest message that follows on this one: a sibling with its answers."),
    ] = False
    expected_last_seq: Annotated[Seq | None, Field(description="Refuse if the log has grown since.")] = None


class Fork(Asking):
    """Where to fork, and what the copy is called. All of it is optional."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"at_seq": 4, "title": "Another way"}]})

    at_seq: Annotated[Seq | None, Field(description="The last message that is copied; the head if left out.")] = None
    new_id: SettableId | None = None
    title: Title | None = None


class Agent(Telling):
    """A configured way of answering."""

    name: str
    description: str
    model: str | None


class AgentList(Telling):
    """Every agent."""

    items: list[Agent]
    next_cursor: None


class SessionAgent(Agent):
    """An agent, and whether it may answer in the session."""

    enabled: bool


class SessionAgentList(Telling):
    """Every agent as the session sees it."""

    items: list[SessionAgent]
    next_cursor: None


class AgentSwitches(Asking):
    """Agents to enable and to disable; the others stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": ["billing"], "disabled": ["smalltalk"]}]})

    enabled: Annotated[list[Name], Field(max_length=200)] = Field(default_factory=list)
    disabled: Annotated[list[Name], Field(max_length=200)] = Field(default_factory=list)


class Model(Telling):
    """A model that can be chosen."""

    name: str
    default: bool


class Retention(Telling):
    """What an app keeps, and for how long; null: for ever, and all of them."""

    idle_seconds: Annotated[
        float | None, Field(description="A session that is not pinned is gone so long after its last activity.")
    ]
    age_seconds: Annotated[float | None, Field(description="Older turns are removed.")]
    messages: Annotated[int | None, Field(description="The oldest turns of a session are removed beyond it.")]
    sessions: Annotated[int | None, Field(description="A user's older sessions go to the trash.")]
    trash_seconds: Annotated[float, Field(description="How long a deleted session can be restored.")]


class ModelList(Telling):
    """Every model; the default one first."""

    items: list[Model]
    next_cursor: None
