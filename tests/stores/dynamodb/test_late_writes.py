"""Requests that arrive late, and requests that are refused: neither changes what the contract says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # the package ships no types

from chatkeep.domain.errors import IdReused, Unavailable
from chatkeep.domain.messages import Message, user
from chatkeep.domain.runs import NewRun, RunEvent
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.ports.store import Appended
from chatkeep.stores.dynamodb import DynamoStore
from chatkeep.stores.items.handle import SETTLED
from chatkeep.stores.items.tables import LOG, SESSIONS
from chatkeep.testing import FakeClock

ALICE = Scope("acme", "support", "alice")
LEASE = timedelta(seconds=15)
DIGEST = b"d" * 32

Judge = Callable[[str, dict[str, Any]], bool]


class SlowClient:
    """A client whose first request that `holds` says is sent only when `let_go` is set.

    `passed` is set once another write was answered while that one was held.
    """

    def __init__(self, client: Any, holds: Judge) -> None:
        self._client = client
        self._holds: Judge | None = holds
        self.held = asyncio.Event()
        self.let_go = asyncio.Event()
        self.passed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        async def call(**request: Any) -> Any:
            if self._holds is not None and self._holds(name, request):
                self._holds = None
                self.held.set()
                await self.let_go.wait()
            answer = await getattr(self._client, name)(**request)
            if self.held.is_set() and name == "put_item":
                self.passed.set()
            return answer

        return call


class ThrottlingClient:
    """A client of a server that refuses two of three requests."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._dice = Random(7)  # noqa: S311 -- the same refusals every time

    def __getattr__(self, name: str) -> Any:
        async def call(**request: Any) -> Any:
            if self._dice.random() < 2 / 3:
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, name)
            return await getattr(self._client, name)(**request)

        return call


class RecordingClient:
    """A client that keeps the names of its requests."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def call(**request: Any) -> Any:
            self.names.append(name)
            return await getattr(self._client, name)(**request)

        return call


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(harness: Any, clock: FakeClock) -> DynamoStore:
    opened: DynamoStore = await harness.open(clock)
    return opened


async def _say(store: DynamoStore, *texts: str, key: str, **options: Any) -> Appended:
    return await store.append(
        ALICE,
        "s",
        [user(text) for text in texts],
        idempotency_key=key,
        digest=DIGEST,
        create=NewSession(),
        **options,
    )


async def _texts(store: DynamoStore) -> list[str]:
    return [entry.text for entry in await store.read(ALICE, "s", limit=1_000) if isinstance(entry, Message)]


def _puts(table: str) -> Judge:
    return lambda name, request: name == "put_item" and str(request["TableName"]).endswith(table)


def _with(harness: Any, client: Any, clock: FakeClock) -> DynamoStore:
    return DynamoStore(client, prefix=harness.address.prefix, clock=clock)


async def test_a_copy_that_arrives_after_a_prune_is_never_seen_and_is_swept(
    harness: Any, store: DynamoStore, clock: FakeClock
) -> None:
    slow = SlowClient(store._dynamo.client, _puts(LOG))
    await _say(store, "a secret", key="1")
    late = asyncio.create_task(_say(_with(harness, slow, clock), "b", key="2"))
    await slow.held.wait()
    await slow.passed.wait()
    await _say(store, "c", key="3")
    await store.prune(ALICE, "s", before_seq=2)

    slow.let_go.set()
    await late
    seen = await _texts(store)
    raw_before = [row for row in await harness.rows() if b"a secret" in row]
    clock.advance(SETTLED)
    while await store.sweep(events_before=clock.now):
        pass

    assert seen == ["b", "c"]
    assert len(raw_before) == 1
    assert not [row for row in await harness.rows() if b"a secret" in row]


async def test_a_copy_that_arrives_after_a_redaction_does_not_bring_the_content_back(
    harness: Any, store: DynamoStore, clock: FakeClock
) -> None:
    slow = SlowClient(store._dynamo.client, _puts(LOG))
    await _say(store, "a secret", key="1")
    late = asyncio.create_task(_say(_with(harness, slow, clock), "b", key="2"))
    await slow.held.wait()
    await slow.passed.wait()
    await store.redact(ALICE, "s", 1)

    slow.let_go.set()
    await late

    assert await _texts(store) == ["", "b"]
    assert not [row for row in await harness.rows() if b"a secret" in row]


async def test_a_commit_that_arrives_after_a_purge_and_a_new_session_of_that_id_is_refused(
    harness: Any, store: DynamoStore, clock: FakeClock
) -> None:
    slow = SlowClient(store._dynamo.client, _puts(SESSIONS))
    old = (await _say(store, "old", key="1")).session
    late = asyncio.create_task(_say(_with(harness, slow, clock), "late", key="2", incarnation=old.incarnation))
    await slow.held.wait()
    await store.purge_session(ALICE, "s")
    await _say(store, "new", key="1")

    slow.let_go.set()
    outcome = (await asyncio.gather(late, return_exceptions=True))[0]

    assert type(outcome).__name__ == "NotFound"
    assert await _texts(store) == ["new"]


async def test_a_zombies_events_that_arrive_after_a_take_over_are_refused(
    harness: Any, store: DynamoStore, clock: FakeClock
) -> None:
    await _say(store, "a", key="1")
    new = NewRun(id="r", request="q", digest=DIGEST, claimant="me")
    await store.claim_run(ALICE, "s", new, lease=LEASE)
    slow = SlowClient(store._dynamo.client, _puts(LOG))
    zombie = _with(harness, slow, clock)
    late = asyncio.create_task(zombie.append_events(ALICE, "r", [RunEvent(1, "zombie")], token=1, lease=LEASE))
    await slow.held.wait()
    clock.advance(LEASE)
    taken = await store.take_run(ALICE, "r", lease=LEASE)
    await store.append_events(ALICE, "r", [RunEvent(1, "owner")], token=2, lease=LEASE)

    slow.let_go.set()
    signal = await late

    assert taken is not None
    assert not signal.lease_ok
    assert await store.read_events(ALICE, "r") == [RunEvent(1, "owner")]


async def test_bodies_beside_a_head_are_not_swept_under_the_append_that_will_name_them(
    harness: Any, store: DynamoStore, clock: FakeClock
) -> None:
    much = ["m" * 200_000, "n" * 200_000]
    await _say(store, "a", key="1")
    slow = SlowClient(store._dynamo.client, _puts(SESSIONS))
    late = asyncio.create_task(_say(_with(harness, slow, clock), *much, key="2"))
    await slow.held.wait()
    clock.advance(SETTLED)
    swept = await store.sweep(events_before=clock.now)

    slow.let_go.set()
    await late

    assert swept == 2
    assert await _texts(store) == ["a", *much]


async def test_throttled_calls_end_well_when_they_are_repeated_with_their_keys(
    harness: Any, store: DynamoStore, clock: FakeClock
) -> None:
    throttled = _with(harness, ThrottlingClient(store._dynamo.client), clock)

    for index in range(5):
        for _ in range(100):
            try:
                await _say(throttled, f"text {index}", key=f"key {index}")
            except Unavailable:
                continue
            break
    with pytest.raises(IdReused):
        await store.append(ALICE, "s", [user("x")], idempotency_key="key 1", digest=b"e" * 32)

    assert await _texts(store) == [f"text {index}" for index in range(5)]


async def test_only_single_items_are_ever_written(harness: Any, store: DynamoStore, clock: FakeClock) -> None:
    recording = RecordingClient(store._dynamo.client)
    recorded = _with(harness, recording, clock)
    new = NewRun(id="r", request="q", digest=DIGEST, claimant="me")

    await _say(recorded, *["m" * 100_000] * 3, key="1")
    await _say(recorded, "a", key="2")
    await recorded.claim_run(ALICE, "s", new, lease=LEASE)
    await recorded.append_events(ALICE, "r", [RunEvent(n, "x" * 60_000) for n in range(1, 6)], token=1, lease=LEASE)
    await recorded.finish_run(ALICE, "r", "complete", token=1)
    await recorded.redact(ALICE, "s", 1)
    await recorded.prune(ALICE, "s", before_seq=3)
    await recorded.erase_scope(ALICE)
    await recorded.sweep(events_before=clock.now)

    assert set(recording.names) <= {"get_item", "put_item", "update_item", "delete_item", "query", "scan"}
