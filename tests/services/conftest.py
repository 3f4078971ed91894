"""Chat over the memory store and the echo model, as fast or slow as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from tests.models.conftest import ModelServer, OpenAIWire, Reply, Step

from chatkeep.domain.agents import Agent
from chatkeep.domain.budgets import DEFAULT_CONTEXT, ContextPolicy
from chatkeep.domain.messages import Message
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.runs import Run
from chatkeep.domain.scope import Scope
from chatkeep.models.echo import EchoModel
from chatkeep.ports.models import ChatModel
from chatkeep.services.agents import AgentService
from chatkeep.services.chat import ChatService
from chatkeep.services.context import ContextService
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
    policy: ContextPolicy = DEFAULT_CONTEXT
    ended: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        policies = RetentionPolicies()
        self.sessions = SessionService(self.store, self.clock, policies)
        self.history = HistoryService(self.store, policies)
        self.toggles = AgentService(self.store, self.agents)
        self.chat = ChatService(
            self.store,
            policies,
            Catalog(self.model),
            self.toggles,
            ContextService(self.store, self.clock, self.policy),
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

WIRE = OpenAIWire()


@dataclass
class Speaker(ModelServer):
    """A server that tells the requests of one chat apart: what it was asked for decides what it says."""

    answer_steps: Sequence[Step] = ()
    title_steps: Sequence[Step] = ()
    suggestion_steps: Sequence[Step] = ()
    routing_steps: Sequence[Step] = ()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        first = str(self.received[-1].body["messages"][0]["content"])
        if first.startswith("Write a title"):
            self.reply = Reply(self.title_steps)
        elif first.startswith("You route"):
            self.reply = Reply(self.routing_steps)
        elif "Propose up to three" in first:
            self.reply = Reply(self.suggestion_steps)
        else:
            self.reply = Reply(self.answer_steps)
        await super()._play(writer)

    def asked(self, begin: str) -> bool:
        """Return whether a request came whose first message holds `begin`."""
        return any(begin in str(request.body["messages"][0]["content"]) for request in self.received)


def spoken(*pieces: str, is_cut_by_bound: bool = False) -> list[Step]:
    """Return a whole answer in pieces."""
    return [*WIRE.begin(), *map(WIRE.text, pieces), *WIRE.end(is_cut_by_bound=is_cut_by_bound)]


@pytest.fixture
async def speaker() -> AsyncIterator[Speaker]:
    """A model server; by default it answers "It is sunny." and gives neither title nor suggestions."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with suppress(asyncio.CancelledError):
            await scripted.answer(reader, writer)
        handlers.discard(task)

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    scripted = Speaker(
        f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}",
        answer_steps=spoken("It is ", "sunny."),
        title_steps=spoken(),
        suggestion_steps=spoken("[]"),
        routing_steps=spoken(),
    )
    yield scripted
    listener.close()
    for task in list(handlers):
        task.cancel()
    await asyncio.gather(*handlers)
    await listener.wait_closed()


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


async def until(comes_true: Callable[[], bool]) -> None:
    """Wait until something has happened elsewhere, for 20 s at most."""
    async with asyncio.timeout(20):
        while not comes_true():  # noqa: ASYNC110 -- what is waited for sets no event
            await asyncio.sleep(0.01)


def said(events: Sequence[StreamEvent]) -> str:
    """Return the text that a client puts together, dropping by offset what it has already."""
    text = ""
    for event in events:
        if event.type == "delta":
            assert event.data["offset"] <= len(text), "a gap in the text"
            text += event.data["text"][len(text) - event.data["offset"] :]
    return text
