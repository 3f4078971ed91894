"""Lost replies and crashes: nothing that was acknowledged is lost, and nothing is stored twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults.databases import APPENDS, EVERYTHING_ONCE, LOST, Texts, append_through_losses
from tests.faults.history import Appended, anomalies
from tests.faults.listing import SECONDS, list_append
from tests.faults.scale import scaled, tell
from tests.stores.mongodb.conftest import MongoHarness, Server, check_installed

from chatkeep.domain.messages import Message
from chatkeep.ports.clock import system_clock
from chatkeep.services.retrying import retried
from chatkeep.stores.mongodb import Address, MongoStore, open_mongodb
from chatkeep.testing.calls import ALICE, say

pytestmark = pytest.mark.timeout(scaled(240, 7_200))


def test_all_clients_see_one_order_and_never_an_older_state(server: Server, tmp_path: Path) -> None:
    notes, final = list_append(f"{server.url}/listappend", tmp_path, seconds=SECONDS)
    tell("MongoDB list-append", seconds=SECONDS, calls=len(notes), stored=sum(map(len, final.values())))

    assert anomalies(notes, final) == []
    assert sum(map(len, final.values())) == sum(isinstance(note, Appended) for note in notes) > SECONDS * 10


async def test_messages_whose_replies_were_lost_are_stored_once_each_in_order(
    server: Server, harness: MongoHarness
) -> None:
    stored, unanswered = await _stored_through_losses(server, harness, same_key=True)
    tell("MongoDB lost replies", appends=APPENDS, unanswered=unanswered, stored=sum(map(len, stored)))

    assert unanswered > APPENDS * LOST / 2
    assert stored == EVERYTHING_ONCE


async def test_a_client_that_repeats_under_another_key_is_caught(server: Server, harness: MongoHarness) -> None:
    stored, _ = await _stored_through_losses(server, harness, same_key=False)

    assert sum(map(len, stored)) > APPENDS


async def _stored_through_losses(server: Server, harness: MongoHarness, *, same_key: bool) -> tuple[Texts, int]:
    async def open_at(port: int) -> MongoStore:
        return await open_mongodb(replace(harness.address, url=f"mongodb://127.0.0.1:{port}"))

    return await append_through_losses(await harness.open(system_clock), server.port, open_at, same_key=same_key)


@pytest.fixture
async def with_files(tmp_path: Path) -> AsyncIterator[Server]:
    """Give an emulator that keeps its documents in files."""
    check_installed()
    server = Server(tmp_path)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


async def test_a_store_goes_on_when_its_server_was_away(with_files: Server) -> None:
    store = await open_mongodb(Address(with_files.url))
    await say(store, "before")
    await asyncio.to_thread(with_files.stop)
    await asyncio.to_thread(with_files.start)

    await retried(lambda: say(store, "after", key="second"))
    read = await store.read(ALICE, "s", limit=10)
    await store.close()

    assert [entry.text for entry in read if isinstance(entry, Message)] == ["before", "after"]
