"""What an append and a read cost: requests, and units as the server counts them."""

from __future__ import annotations

from typing import Any, NamedTuple

from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # the package ships no types
from tests.stores.dynamodb.conftest import DynamoHarness

from chatkeep.domain.messages import Message, user
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.ports.store import REMEMBERED_KEYS
from chatkeep.stores.dynamodb import DynamoStore
from chatkeep.testing import FakeClock

ALICE = Scope("acme", "support", "alice")


class Request(NamedTuple):
    """One request, and the units that the server says it took."""

    name: str
    table: str
    units: float


class CountingClient:
    """A client that asks for the cost of each request and keeps it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requests: list[Request] = []

    def __getattr__(self, name: str) -> Any:
        async def call(**request: Any) -> Any:
            answer = await getattr(self._client, name)(**request, ReturnConsumedCapacity="INDEXES")
            table = request["TableName"].rpartition("-")[2]
            self.requests.append(Request(name, table, answer["ConsumedCapacity"]["CapacityUnits"]))
            return answer

        return call


async def test_a_warm_append_is_one_commit_beside_the_copy_of_the_one_before(harness: Any) -> None:
    clock = FakeClock()
    opened = await harness.open(clock)
    counting = CountingClient(opened._dynamo.client)
    store = DynamoStore(counting, prefix=harness.address.prefix, clock=clock)

    for index in range(REMEMBERED_KEYS + 2):
        counting.requests.clear()
        await store.append(
            ALICE,
            "s",
            [user("x" * 1_000)],
            idempotency_key=f"key {index}",
            digest=b"d" * 32,
            create=NewSession(),
        )

    assert [request.name for request in counting.requests] == ["put_item", "put_item"]
    costs = {(request.name, request.table): request.units for request in counting.requests}
    assert costs["put_item", "sessions"] <= 11
    assert costs["put_item", "log"] <= 2


async def test_what_comes_behind_a_large_append_does_not_pay_for_it(harness: Any) -> None:
    clock = FakeClock()
    opened = await harness.open(clock)
    counting = CountingClient(opened._dynamo.client)
    store = DynamoStore(counting, prefix=harness.address.prefix, clock=clock)
    large = [user("x" * 1_000)] * 100
    await store.append(ALICE, "s", large, idempotency_key="large", digest=b"d" * 32, create=NewSession())

    counting.requests.clear()
    await store.read(ALICE, "s", limit=20, newest_first=True)
    read = sorted(counting.requests)
    counting.requests.clear()
    await store.append(ALICE, "s", [user("x")], idempotency_key="small", digest=b"e" * 32)

    assert [(request.name, request.table) for request in read] == [("get_item", "sessions"), ("query", "log")]
    assert read[0].units <= 1
    assert [(request.name, request.table) for request in counting.requests] == [("put_item", "sessions")]
    assert counting.requests[0].units <= 4


class RefusingClient(CountingClient):
    """A client whose server refuses two rows of three, as one that is asked for too much does."""

    rows = 0

    def __getattr__(self, name: str) -> Any:
        ask = super().__getattr__(name)

        async def call(**request: Any) -> Any:
            if name == "put_item" and request["TableName"].endswith("-log"):
                self.rows += 1
                if self.rows % 3:
                    raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "PutItem")
            return await ask(**request)

        return call


async def test_a_server_that_refuses_some_copies_is_not_asked_for_more_and_more(harness: DynamoHarness) -> None:
    clock = FakeClock()
    opened = await harness.open(clock)
    refusing = RefusingClient(opened._dynamo.client)
    store = DynamoStore(refusing, prefix=harness.address.prefix, clock=clock)

    for index in range(60):
        key = f"key {index}"
        await store.append(ALICE, "s", [user("x")], idempotency_key=key, digest=b"d" * 32, create=NewSession())

    stored = await opened.read(ALICE, "s", limit=100)
    assert [entry.seq for entry in stored] == list(range(1, 61))
    assert refusing.rows < 4 * 60
    refusing.requests.clear()
    await store.append(ALICE, "s", [user("x")], idempotency_key="last", digest=b"d" * 32)
    assert sum(request.units for request in refusing.requests if request.table == "sessions") < 12


async def test_a_large_append_comes_through_to_a_server_that_refuses_some_rows(harness: DynamoHarness) -> None:
    clock = FakeClock()
    opened = await harness.open(clock)
    refusing = RefusingClient(opened._dynamo.client)
    store = DynamoStore(refusing, prefix=harness.address.prefix, clock=clock)
    texts = [f"{index} " + "x" * 4_000 for index in range(100)]

    await store.append(
        ALICE, "s", [user(text) for text in texts], idempotency_key="large", digest=b"d" * 32, create=NewSession()
    )

    stored = await opened.read(ALICE, "s", limit=100)
    assert [entry.text for entry in stored if isinstance(entry, Message)] == texts
