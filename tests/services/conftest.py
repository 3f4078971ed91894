"""Chat over the memory store and the echo model, as fast or slow as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from chatkeep.domain.agents import Agent
from chatkeep.domain.messages import Message
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.runs import Run
from chatkeep.domain.scope import Scope
from chatkeep.models.echo import EchoModel
from chatkeep.ports.models import ChatModel
from chatkeep.services.agents import AgentService
from chatkeep.services.chat import ChatService
from chatkeep.services.generation import GenerationSettings
from chatkeep.services.history import HistoryService
from chatkeep.services.live import StreamEvent
from chatkeep.services.sessions import SessionService
from chatkeep.stores.memory import MemoryStore

ALICE = Scope("default", "default", "alice")
BOB = Scope("default", "default", "bob")


class Clock:
    """A clock that a test sets; it stands still."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


class Catalog:
    """The models of a test: one."""

    def __init__(self, model: ChatModel) -> None:
        self.model = model

    def names(self) -> Sequence[str]:
        return (self.model.name,)

    def get(self, name: str | None) -> ChatModel:  # noqa: ARG002 -- there is one
        return self.model


@dataclass
class Desk:
    """One worker: services over a store that other workers may share."""

    store: MemoryStore
    clock: Clock
    model: ChatModel
    agents: tuple[Agent, ...] = ()
    ended: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        policies = RetentionPolicies()
        self.sessions = SessionService(self.store, self.clock, policies)
        self.history = HistoryService(self.store, self.clock, policies)
        self.toggles = AgentService(self.store, self.agents)
        self.chat = ChatService(
            self.store,
            self.clock,
            policies,
            Catalog(self.model),
            self.toggles,
            GenerationSettings(),
            on_end=self.ended.append,
        )

    async def texts(self, session_id: str) -> list[tuple[str, str, str]]:
        """Return (role, status, text) of the active path."""
        entries = await self.history.read(ALICE, session_id, newest_first=False)
        return [(entry.role, entry.status, entry.text) for entry in entries if isinstance(entry, Message)]

    async def collect(self, run_id: str, *, after: int = 0) -> list[StreamEvent]:
        """Follow a run to its end."""
        async with asyncio.timeout(20):
            return [event async for event in self.chat.follow(ALICE, run_id, after=after)]

    async def wait_for_text(self, run_id: str) -> None:
        """Follow a run until its answer has begun."""
        async with asyncio.timeout(20):
            async for event in self.chat.follow(ALICE, run_id):
                if event.type == "delta":
                    return

    def crash(self) -> None:
        """Let this worker die: its tasks vanish without another word to the store."""
        for task in self.chat._tasks:
            task.cancel()
        self.chat._tasks.clear()


DeskMaker = Callable[..., Desk]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def desks(clock: Clock) -> AsyncIterator[DeskMaker]:
    """Make workers that share one store."""
    store = MemoryStore(clock=clock)
    made: list[Desk] = []

    def make(model: ChatModel | None = None, agents: tuple[Agent, ...] = ()) -> Desk:
        desk = Desk(store, clock, model or EchoModel(0), agents)
        made.append(desk)
        return desk

    yield make
    for desk in made:
        await desk.chat.close()
        await desk.model.close()
    await store.close()


def said(events: Sequence[StreamEvent]) -> str:
    """Return the text that a client puts together, dropping by offset what it has already."""
    text = ""
    for event in events:
        if event.type == "delta":
            assert event.data["offset"] <= len(text), "a gap in the text"
            text += event.data["text"][len(text) - event.data["offset"] :]
    return text
