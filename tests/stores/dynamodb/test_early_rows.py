"""Rows that a read fetches beside the session's head: quicker, and never older than what was there when it began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chatkeep.domain.messages import Feedback, Message, user
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.stores.dynamodb import DynamoStore
from chatkeep.testing import FakeClock

ALICE = Scope("acme", "support", "alice")
SOON_SECONDS = 5


class HeldClient:
    """A client that sends a request for an item only when `meanwhile` is over, which begins behind the first query."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._queried = asyncio.Event()
        self.sent: list[str] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Any:
        async def call(**request: Any) -> Any:
            meanwhile = self.meanwhile
            if name == "get_item" and meanwhile is not None:
                self.meanwhile = None
                self._queried.clear()
                await asyncio.wait_for(self._queried.wait(), SOON_SECONDS)
                await meanwhile()
            self.sent.append(name)
            answer = await getattr(self._client, name)(**request)
            if name == "query":
                self._queried.set()
            return answer

        return call


@pytest.fixture
async def other(harness: Any) -> DynamoStore:
    opened: DynamoStore = await harness.open(FakeClock())
    return opened


@pytest.fixture
def client(other: DynamoStore) -> HeldClient:
    return HeldClient(other._dynamo.client)


@pytest.fixture
def reader(harness: Any, client: HeldClient) -> DynamoStore:
    return DynamoStore(client, prefix=harness.address.prefix, clock=FakeClock())


async def _say(store: DynamoStore, *texts: str) -> None:
    for text in texts:
        key = f"key of {text}"
        await store.append(
            ALICE, "s", [user(text)], idempotency_key=key, digest=text.encode().ljust(32), create=NewSession()
        )


async def _read(store: DynamoStore) -> list[Message]:
    return [entry for entry in await store.read(ALICE, "s", limit=1_000) if isinstance(entry, Message)]


async def _texts(store: DynamoStore) -> list[str]:
    return [message.text for message in await _read(store)]


async def _nothing() -> None:
    return


async def test_a_session_that_was_written_or_read_here_is_read_in_one_round_trip(
    reader: DynamoStore, client: HeldClient, other: DynamoStore
) -> None:
    await _say(other, "a", "b", "c")
    await _texts(reader)

    client.sent.clear()
    client.meanwhile = _nothing
    assert await _texts(reader) == ["a", "b", "c"]
    assert client.sent == ["query", "get_item"]
    await _say(reader, "d")
    client.sent.clear()
    client.meanwhile = _nothing
    assert await _texts(reader) == ["a", "b", "c", "d"]
    assert client.sent == ["query", "get_item"]


async def test_one_that_was_never_seen_here_is_read_behind_its_head(
    reader: DynamoStore, client: HeldClient, other: DynamoStore
) -> None:
    await _say(other, "a")

    assert await _texts(reader) == ["a"]
    assert client.sent == ["get_item", "query"]


async def test_what_is_copied_and_added_between_rows_and_head_is_found(
    reader: DynamoStore, client: HeldClient, other: DynamoStore
) -> None:
    await _say(reader, "a", "b")
    client.meanwhile = lambda: _say(other, "c", "d", "e")

    assert await _texts(reader) == ["a", "b", "c", "d", "e"]


async def test_what_is_pruned_between_rows_and_head_is_not_shown(
    reader: DynamoStore, client: HeldClient, other: DynamoStore
) -> None:
    await _say(reader, "a", "b", "c")
    client.meanwhile = lambda: other.prune(ALICE, "s", before_seq=3)

    assert await _texts(reader) == ["c"]


async def test_what_a_purged_session_held_is_not_shown_in_the_next_one(
    reader: DynamoStore, client: HeldClient, other: DynamoStore
) -> None:
    async def purge_and_begin_anew() -> None:
        await other.purge_session(ALICE, "s")
        await _say(other, "x", "y")

    await _say(reader, "a", "b", "c")
    client.meanwhile = purge_and_begin_anew

    assert await _texts(reader) == ["x", "y"]


async def test_feedback_on_a_message_that_is_in_the_head_still_and_was_unknown_here_is_seen(
    reader: DynamoStore, other: DynamoStore
) -> None:
    await _say(reader, "a")
    await _say(other, "b")
    await other.annotate(ALICE, "s", 2, Feedback("up"))

    assert [message.feedback and message.feedback.rating for message in await _read(reader)] == [None, "up"]


async def test_a_redaction_that_was_over_before_the_read_began_is_seen(
    reader: DynamoStore, client: HeldClient, other: DynamoStore
) -> None:
    await _say(reader, "a", "b")
    await other.redact(ALICE, "s", 2)
    client.meanwhile = lambda: _say(other, "c")

    assert await _texts(reader) == ["a", "", "c"]
