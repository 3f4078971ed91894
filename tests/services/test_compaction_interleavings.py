"""Any interleaving of messages, edits, erasures, contexts, summaries and crashes leaves summaries and vectors true."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatkeep.domain import vectors
from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.errors import (
    ChatkeepError,
    ContextOverflow,
    ModelUnavailable,
    NotFound,
    SeqConflict,
    SummaryRejected,
)
from chatkeep.domain.messages import Message, Text, assistant, user
from chatkeep.domain.paths import path_ranges
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session
from chatkeep.domain.summaries import Method, Places, Segment, gaps, placed
from chatkeep.embedders.vectors import ExactLikeness
from chatkeep.ports.store import State
from chatkeep.ports.summarizer import SummaryRequest
from chatkeep.services.compaction import Compactor
from chatkeep.services.context import ContextService, Question
from chatkeep.services.erasure import Erasure
from chatkeep.services.history import HistoryService
from chatkeep.services.summarising import SummaryShelf
from chatkeep.services.vectors import VectorShelf
from chatkeep.stores.memory import MemoryStore

ALICE = Scope("t", "app", "alice")
POLICY = ContextPolicy(
    tmax_tokens=400,
    tretained_tokens=60,
    chunk_tokens=40,
    segment_tokens=120,
    relevant_tokens=200,
    relevance="hybrid",
)
RUNS = 60
STEPS = 120


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "PAGE_SEQS", 6)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=5)
        return self.now


class Jittery(MemoryStore):
    """Lets others go first, at random, around every call that summaries depend on."""

    chance = random.Random(0)  # noqa: S311 -- it guards nothing

    async def _step_aside(self) -> None:
        for _ in range(self.chance.choice([0, 0, 1, 3, 9])):
            await asyncio.sleep(0)

    async def get_state(self, *args: Any, **named: Any) -> State | None:
        await self._step_aside()
        found = await super().get_state(*args, **named)
        await self._step_aside()
        return found

    async def put_state(self, *args: Any, **named: Any) -> State:
        await self._step_aside()
        return await super().put_state(*args, **named)

    async def read(self, *args: Any, **named: Any) -> Any:
        await self._step_aside()
        found = await super().read(*args, **named)
        await self._step_aside()
        return found

    async def prune(self, *args: Any, **named: Any) -> Session:
        await self._step_aside()
        pruned = await super().prune(*args, **named)
        await self._step_aside()
        return pruned

    async def redact(self, *args: Any, **named: Any) -> Message:
        await self._step_aside()
        return await super().redact(*args, **named)


class Recording:
    """Writes down the mark of each message it reads; sometimes it fails, dawdles, or talks nonsense."""

    method: Method = "model"
    name: str | None = "recording"

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.calls = 0

    async def summarize(self, request: SummaryRequest) -> str:
        self.calls += 1
        for _ in range(self.chance.choice([0, 5, 60])):
            await asyncio.sleep(0)
        kind = self.chance.random()
        if kind < 0.05:
            raise ModelUnavailable("down")
        if kind < 0.1:
            raise SummaryRejected("a refusal")
        return " ".join(mark for line in request.lines for mark in re.findall(r"m\d+x\d+", line.text))


def vector_of(text: str) -> bytes:
    mark = re.search(r"m\d+x\d+", text)
    return hashlib.blake2b(mark[0].encode() if mark else b"", digest_size=16).digest()


class Marking:
    """Makes a vector that tells which message it is of; sometimes it fails or dawdles."""

    name = "marking"
    is_ready = True

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    async def load(self) -> None:
        pass

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        for _ in range(self.chance.choice([0, 1, 5])):
            await asyncio.sleep(0)
        if self.chance.random() < 0.02:
            raise ModelUnavailable("down")
        return list(map(vector_of, texts))

    def likeness(self) -> ExactLikeness:
        return ExactLikeness(16)


class World:
    """One session, those who work on it, and what is known of its messages."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 -- it guards nothing
        self.clock = Clock()
        self.store = Jittery(clock=self.clock)
        self.store.chance = self.chance
        self.history = HistoryService(self.store, RetentionPolicies())
        self.context = ContextService(self.store, self.clock, POLICY, embedder=Marking(self.chance))
        self.vectors = 0
        self.summarizer = Recording(self.chance)
        self.workers: list[asyncio.Task[int]] = []
        self.marks: dict[int, str] = {}
        self.erased: set[int] = set()
        self.violations: list[str] = []

    async def session(self) -> Session:
        found = await self.store.find_session(ALICE, "s")
        assert found is not None
        return found

    async def say(self, parent: int | None = None) -> None:
        session = await self.session()
        number = session.last_seq + 1
        marks = [f"m{seq}x{self.chance.randrange(10**6)}" for seq in (number, number + 1)]
        said = [user(f"{marks[0]} {'word ' * self.chance.randrange(20)}"), assistant(marks[1])]
        await self.history.append(ALICE, "s", said, parent_seq=parent)
        self.marks |= {number: marks[0], number + 1: marks[1]}

    async def edit(self) -> None:
        session = await self.session()
        entries = await self.store.read(ALICE, "s", limit=1_000)
        asked = [entry for entry in entries if isinstance(entry, Message) and entry.role == "user"]
        if asked:
            entry = self.chance.choice(asked)
            await self.say(entry.parent_seq if entry.parent_seq >= session.first_seq else 0)

    async def erase(self) -> None:
        session = await self.session()
        if session.last_seq >= session.first_seq:
            seq = self.chance.randint(session.first_seq, session.last_seq)
            await self.history.redact(ALICE, "s", seq)
            self.erased.add(seq)

    async def prune(self) -> None:
        session = await self.session()
        if self.chance.random() < 0.3 and session.last_seq > 12:
            pruned = await Erasure(self.store).prune(ALICE, "s", before_seq=session.first_seq + 4)
            self.erased |= {seq for seq in self.marks if seq < pruned.first_seq}

    async def switch(self) -> None:
        session = await self.session()
        if session.last_seq >= session.first_seq:
            await self.history.select(
                ALICE, "s", self.chance.randint(session.first_seq, session.last_seq), whole_branch=True
            )

    async def look(self) -> None:
        erased = set(self.erased)
        with suppress(ContextOverflow):
            prompt = (await self.context.prepare(ALICE, "s", Question(text="which word?"))).prompt
            text = " ".join(part.text for one in prompt.messages for part in one.parts if isinstance(part, Text))
            seen = set(re.findall(r"m(\d+)x\d+", text))
            self.violations += [f"{seq} was erased and is in a prompt" for seq in erased if str(seq) in seen]
            total = prompt.report.tokens["total"]
            if total > prompt.report.budget_tokens:
                self.violations.append(f"{total} tokens")

    async def work(self) -> None:
        compactor = Compactor(self.store, self.clock, POLICY, self.summarizer)
        self.workers.append(asyncio.create_task(compactor.compact(ALICE, "s")))

    async def crash(self) -> None:
        if self.workers:
            self.chance.choice(self.workers).cancel()
        await self.context.close()

    async def breathe(self) -> None:
        for _ in range(self.chance.choice([10, 100, 300])):
            await asyncio.sleep(0)

    async def check(self) -> None:
        """Compare every summary and vector that is stored with the messages it stands for."""
        session = await self.session()
        for number in range(vectors.page_of(session.last_seq) + 1):
            for seq, vector in (await VectorShelf(self.store).get(ALICE, "s", number)).page.vectors.items():
                self.vectors += 1
                if seq in self.erased:
                    self.violations.append(f"the vector of {seq}, which was erased, is stored")
                if vector != vector_of(self.marks[seq]):
                    self.violations.append(f"{seq} has the vector of another message")
        state = (await SummaryShelf(self.store).get(ALICE, session)).summaries
        for segment in (*state.published, *state.ready):
            self._check_segment(session, segment)
        places = Places(session.path)
        chain = placed(state.published, places)
        if len([one for one in state.published if places.of(one.last_seq) is not None]) != len(chain):
            self.violations.append("segments of the path overlap")
        if gaps(chain) and not self.erased:
            self.violations.append("a gap that no erasure explains")

    def _check_segment(self, session: Session, segment: Segment) -> None:
        ranges = path_ranges(segment.last_seq, session.jumps, session.first_seq)
        stands_for = {seq for low, high in ranges for seq in range(max(low, segment.first_seq), high + 1)}
        wanted = {self.marks[seq] for seq in stands_for if seq not in self.erased}
        told = set(re.findall(r"m\d+x\d+", segment.text))
        if told & {self.marks[seq] for seq in self.erased}:
            self.violations.append(f"{segment.first_seq}-{segment.last_seq} tells of an erased message")
        if segment.method == "model" and segment.level == 0 and told != wanted:
            self.violations.append(f"{segment.first_seq}-{segment.last_seq} is not what stands there")


async def play(seed: int) -> World:
    world = World(seed)
    await world.store.create_session(ALICE, "s", NewSession())
    steps: list[tuple[Callable[[], Awaitable[None]], int]] = [
        (world.say, 12),
        (world.edit, 2),
        (world.erase, 4),
        (world.prune, 3),
        (world.switch, 1),
        (world.look, 6),
        (world.work, 12),
        (world.crash, 2),
        (world.breathe, 4),
    ]
    kinds = [step for step, weight in steps for _ in range(weight)]
    looking: list[asyncio.Task[None]] = []
    for _ in range(STEPS):
        step = world.chance.choice(kinds)
        if step in (world.look, world.erase, world.prune):
            looking.append(asyncio.create_task(_quietly(step)))
            await asyncio.sleep(0)
        else:
            await _quietly(step)
    await asyncio.gather(*looking, *world.workers, return_exceptions=True)
    await world.context.settled()
    await world.check()
    world.clock.now += timedelta(hours=1)
    with suppress(ChatkeepError):
        await Compactor(world.store, world.clock, POLICY, world.summarizer).compact(ALICE, "s")
    await world.look()
    await world.context.settled()
    await world.check()
    await world.store.close()
    return world


async def _quietly(step: Callable[[], Awaitable[None]]) -> None:
    with suppress(NotFound, SeqConflict):  # it was pruned meanwhile
        await step()


async def test_no_interleaving_makes_a_summary_untrue() -> None:
    worlds = [await play(seed) for seed in range(RUNS)]

    assert [violation for world in worlds for violation in world.violations] == []
    assert sum(world.summarizer.calls for world in worlds) > 10 * RUNS
    assert sum(world.vectors for world in worlds) > 20 * RUNS


async def test_a_blind_write_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def blindly(self: Jittery, scope: Scope, session_id: str, key: str, value: bytes, **named: Any) -> State:
        await self._step_aside()
        stored = await MemoryStore.get_state(self, scope, session_id, key)
        named["expected_version"] = 0 if stored is None else stored.version
        return await MemoryStore.put_state(self, scope, session_id, key, value, **named)

    monkeypatch.setattr(Jittery, "put_state", blindly)

    worlds = [await play(seed) for seed in range(RUNS)]

    told = "\n".join(violation for world in worlds for violation in world.violations)
    assert "tells of an erased message" in told or "is not what stands there" in told
    assert "the vector of" in told
