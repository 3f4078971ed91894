"""Many clients at once, and lost replies: nothing that was acknowledged is lost, and nothing is stored twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.faults.databases import APPENDS, EVERYTHING_ONCE, LOST, Texts, append_through_losses
from tests.faults.history import Appended, anomalies
from tests.faults.listing import list_append
from tests.faults.scale import scaled, tell
from tests.stores.dynamodb.conftest import DynamoHarness

from chatkeep.ports.clock import system_clock
from chatkeep.stores.dynamodb import DynamoStore, open_dynamodb

SECONDS = scaled(10, 600)

pytestmark = pytest.mark.timeout(scaled(240, 7_200))


async def test_all_clients_see_one_order_and_never_an_older_state(harness: DynamoHarness, tmp_path: Path) -> None:
    address = harness.address
    url = f"dynamodb://eu-west-1/{address.prefix}?endpoint={address.endpoint}"
    notes, final = await asyncio.to_thread(list_append, url, tmp_path, seconds=SECONDS)
    tell("DynamoDB list-append", seconds=SECONDS, calls=len(notes), stored=sum(map(len, final.values())))

    assert anomalies(notes, final) == []
    assert sum(map(len, final.values())) == sum(isinstance(note, Appended) for note in notes) > SECONDS * 5


async def test_messages_whose_replies_were_lost_are_stored_once_each_in_order(harness: DynamoHarness) -> None:
    stored, unanswered = await _stored_through_losses(harness, same_key=True)
    tell("DynamoDB lost replies", appends=APPENDS, unanswered=unanswered, stored=sum(map(len, stored)))

    assert unanswered > APPENDS * LOST / 2
    assert stored == EVERYTHING_ONCE


async def test_a_client_that_repeats_under_another_key_is_caught(harness: DynamoHarness) -> None:
    stored, _ = await _stored_through_losses(harness, same_key=False)

    assert sum(map(len, stored)) > APPENDS


async def _stored_through_losses(harness: DynamoHarness, *, same_key: bool) -> tuple[Texts, int]:
    port = urlsplit(harness.address.endpoint or "").port
    assert port is not None

    async def open_at(through: int) -> DynamoStore:
        return await open_dynamodb(replace(harness.address, endpoint=f"http://127.0.0.1:{through}"))

    return await append_through_losses(await harness.open(system_clock), port, open_at, same_key=same_key)
