from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatkeep.domain.errors import (
    CorruptRecord,
    IdReused,
    LimitExceeded,
    NotFound,
    SeqConflict,
    SessionExists,
)
from chatkeep.domain.messages import Feedback, Message, assistant, user
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, SessionPatch
from chatkeep.services.arrivals import arrived_at
from chatkeep.services.fork import ABANDONED_AFTER, ForkService
from chatkeep.stores.memory import MemoryStore, Tables

ALICE = Scope("t", "app", "alice")
BOB = Scope("t", "app", "bob")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Crash(Exception):
    """The process dies here."""


class CrashingStore(MemoryStore):
    """Works `calls` times and then never again, like a process that is killed after or before a write."""

    calls = 0

    def _writes(self) -> None:
        if self.calls == 0:
            raise Crash
        self.calls -= 1

    async def ensure_session(self, *args: Any, **kwargs: Any) -> Any:
        self._writes()
        return await super().ensure_session(*args, **kwargs)

    async def put_state(self, *args: Any, **kwargs: Any) -> Any:
        self._writes()
        return await super().put_state(*args, **kwargs)

    async def append(self, *args: Any, **kwargs: Any) -> Any:
        self._writes()
        return await super().append(*args, **kwargs)

    async def redact(self, *args: Any, **kwargs: Any) -> Any:
        self._writes()
        return await super().redact(*args, **kwargs)

    async def update_session(self, *args: Any, **kwargs: Any) -> Any:
        self._writes()
        return await super().update_session(*args, **kwargs)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def store(clock: Clock, tables: Tables) -> MemoryStore:
    return MemoryStore(clock, tables=tables)


async def talk(store: MemoryStore, count: int, **new: Any) -> Session:
    """Keep a session `s` of `count` messages, the third of them redacted."""
    session = await store.create_session(ALICE, "s", NewSession(**new))
    for first in range(0, count, 100):
        batch = [
            (user if at % 2 == 0 else assistant)(f"m{at}", created_at=START - timedelta(days=900 - at))
            for at in range(first, min(count, first + 100))
        ]
        appended = await store.append(
            ALICE, "s", batch, idempotency_key=str(first), digest=bytes(16), idle_ttl=new.get("idle_ttl")
        )
        session = appended.session
    if count >= 3:
        await store.redact(ALICE, "s", 3)
    return session


async def told(store: MemoryStore, session_id: str) -> list[tuple[Any, ...]]:
    read = await store.read(ALICE, session_id, limit=1_000)
    return [
        (entry.role, entry.status, entry.created_at, entry.content, entry.redacted)
        for entry in read
        if isinstance(entry, Message)
    ]


async def test_a_fork_is_a_copy_of_the_path_up_to_a_message(store: MemoryStore, clock: Clock) -> None:
    await talk(store, 7, title="Talk", metadata={"a": 1}, idle_ttl=timedelta(days=3))
    await store.annotate(ALICE, "s", 2, Feedback("up"))

    fork = await ForkService(store, clock).fork(ALICE, "s", at_seq=5)

    assert await told(store, fork.id) == (await told(store, "s"))[:5]
    assert [entry.seq for entry in await store.read(ALICE, fork.id, limit=10)] == [1, 2, 3, 4, 5]
    assert (fork.title, fork.title_source, fork.state, fork.hidden) == ("Talk", "auto", "active", 0)
    assert fork.metadata == {"a": 1, "forked_from": {"session_id": "s", "seq": 5}}
    assert fork.expires_at == START + timedelta(days=3)
    second = (await store.read(ALICE, fork.id, after_seq=1, limit=1))[0]
    assert isinstance(second, Message)
    assert second.feedback is None


async def test_a_copied_answer_leaves_the_report_of_its_context_behind(store: MemoryStore, clock: Clock) -> None:
    await store.create_session(ALICE, "s", NewSession())
    said = [user("q"), assistant("a", context={"included": [[1, 1]]}, model="m")]
    await store.append(ALICE, "s", said, idempotency_key="k", digest=bytes(16), idle_ttl=None)

    fork = await ForkService(store, clock).fork(ALICE, "s")

    copied = (await store.read(ALICE, fork.id, after_seq=1, limit=1))[0]
    assert isinstance(copied, Message)
    assert (copied.text, copied.content.model, copied.content.context) == ("a", "m", None)


async def test_only_the_active_branch_is_copied(store: MemoryStore, clock: Clock) -> None:
    await talk(store, 2)
    await store.append(
        ALICE, "s", [user("edited"), assistant("re")], idempotency_key="e", digest=bytes(16), parent_seq=0
    )

    fork = await ForkService(store, clock).fork(ALICE, "s", title="Mine")

    texts = [
        entry.text for entry in await store.read(ALICE, fork.id, limit=10, path="all") if isinstance(entry, Message)
    ]
    assert texts == ["edited", "re"]
    assert (fork.title, fork.title_source) == ("Mine", "user")
    with pytest.raises(SeqConflict, match="not on the active path"):
        await ForkService(store, clock).fork(ALICE, "s", at_seq=1)


async def test_an_empty_session_can_be_forked(store: MemoryStore, clock: Clock) -> None:
    await talk(store, 0)

    fork = await ForkService(store, clock).fork(ALICE, "s")

    assert (fork.last_seq, fork.hidden) == (0, 0)


async def test_a_repeat_returns_the_first_fork_even_after_the_source_went_on(store: MemoryStore, clock: Clock) -> None:
    await talk(store, 3)
    forks = ForkService(store, clock)
    first = await forks.fork(ALICE, "s", idempotency_key="k")
    await store.append(ALICE, "s", [user("more")], idempotency_key="m", digest=bytes(16))
    await store.append(ALICE, first.id, [user("own")], idempotency_key="m", digest=bytes(16))
    await store.update_session(ALICE, first.id, SessionPatch(metadata={}))

    again = await forks.fork(ALICE, "s", idempotency_key="k")

    assert (again.id, again.last_seq) == (first.id, 4)
    assert len((await store.list_sessions(ALICE, SessionFilter(), limit=10)).items) == 2
    with pytest.raises(IdReused):
        await forks.fork(ALICE, "s", at_seq=1, idempotency_key="k")


async def test_a_fork_that_was_killed_anywhere_is_completed_by_its_repeat(clock: Clock) -> None:
    kills = 0
    for calls in range(12):
        tables = Tables()
        store = MemoryStore(clock, tables=tables)
        await talk(store, 250)
        doomed = CrashingStore(clock, tables=tables)
        doomed.calls = calls
        try:
            await ForkService(doomed, clock).fork(ALICE, "s", new_id="f", idempotency_key="k")
        except Crash:
            kills += 1
            listed = await store.list_sessions(ALICE, SessionFilter(include_archived=True), limit=10)
            assert [session.id for session in listed.items] == ["s"]

        fork = await ForkService(store, clock).fork(ALICE, "s", new_id="f", idempotency_key="k")

        assert await told(store, "f") == await told(store, "s")
        assert (fork.last_seq, fork.hidden) == (250, 0)
        assert fork.expires_at is None
    assert kills == 8


async def test_a_fork_that_is_never_completed_expires(store: MemoryStore, tables: Tables, clock: Clock) -> None:
    await talk(store, 150)
    doomed = CrashingStore(clock, tables=tables)
    doomed.calls = 4
    with pytest.raises(Crash):
        await ForkService(doomed, clock).fork(ALICE, "s", new_id="f", idempotency_key="k")
    assert await store.find_session(ALICE, "f") is not None

    clock.now += ABANDONED_AFTER

    assert await store.find_session(ALICE, "f") is None


async def test_two_callers_of_the_same_fork_make_one(store: MemoryStore, clock: Clock) -> None:
    await talk(store, 230)
    forks = ForkService(store, clock)

    made = await asyncio.gather(*(forks.fork(ALICE, "s", idempotency_key="k") for _ in range(4)))

    assert len({fork.id for fork in made}) == 1
    assert await told(store, made[0].id) == await told(store, "s")


async def test_large_messages_go_in_several_batches(store: MemoryStore, clock: Clock) -> None:
    await store.create_session(ALICE, "s", NewSession())
    for at in range(9):
        await store.append(ALICE, "s", [user("x" * 200_000)], idempotency_key=str(at), digest=bytes(16))

    fork = await ForkService(store, clock).fork(ALICE, "s")

    assert fork.last_seq == 9


async def test_an_unreadable_message_is_refused_and_nothing_is_listed(
    store: MemoryStore, tables: Tables, clock: Clock
) -> None:
    await talk(store, 5)
    rows = tables.shelves[ALICE]["s"].rows
    rows[4] = rows[4]._replace(body=b"Xgarbage")
    forks = ForkService(store, clock)

    with pytest.raises(CorruptRecord, match="message 4 of session 's' cannot be read"):
        await forks.fork(ALICE, "s")

    assert [each.id for each in (await store.list_sessions(ALICE, SessionFilter(), limit=10)).items] == ["s"]
    assert (await forks.fork(ALICE, "s", at_seq=3)).last_seq == 3
    await store.redact(ALICE, "s", 4)
    assert (await forks.fork(ALICE, "s")).last_seq == 5


async def test_what_is_taken_or_not_there_is_refused(store: MemoryStore, clock: Clock) -> None:
    await talk(store, 2)
    await store.create_session(ALICE, "taken", NewSession())
    forks = ForkService(store, clock)

    with pytest.raises(NotFound):
        await forks.fork(BOB, "s")
    with pytest.raises(SessionExists):
        await forks.fork(ALICE, "s", new_id="taken")
    with pytest.raises(SessionExists):
        await forks.fork(ALICE, "s", new_id="taken", idempotency_key="k")
    with pytest.raises(LimitExceeded):
        await forks.fork(ALICE, "s", title="x" * 201)


async def test_messages_that_were_pruned_before_they_were_copied_are_not_left_out_silently(
    store: MemoryStore, tables: Tables, clock: Clock
) -> None:
    await talk(store, 250)
    doomed = CrashingStore(clock, tables=tables)
    doomed.calls = 5
    with pytest.raises(Crash):
        await ForkService(doomed, clock).fork(ALICE, "s", new_id="f", idempotency_key="k")
    await store.prune(ALICE, "s", before_seq=240)

    with pytest.raises(SeqConflict, match="pruned before it was forked"):
        await ForkService(store, clock).fork(ALICE, "s", new_id="f", idempotency_key="k")


async def test_retention_counts_the_age_of_copied_messages_from_the_fork(store: MemoryStore, clock: Clock) -> None:
    await talk(store, 3)

    fork = await ForkService(store, clock).fork(ALICE, "s")

    assert await arrived_at(store, ALICE, fork.id) == START
