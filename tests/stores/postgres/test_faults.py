"""Crashes, cut connections and lost replies: nothing that was acknowledged is lost, and nothing is stored twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults.away import check, while_away
from tests.faults.databases import (
    APPENDS,
    CRASHES,
    EVERYTHING_ONCE,
    LOST,
    Texts,
    append_through_crashes,
    append_through_losses,
)
from tests.faults.history import Appended, anomalies
from tests.faults.listing import SECONDS, list_append
from tests.faults.scale import LONG, scaled, tell
from tests.stores.postgres.conftest import PostgresHarness, Server

from chatkeep.ports.clock import system_clock
from chatkeep.stores.postgres import PostgresStore, open_postgres

pytestmark = pytest.mark.timeout(scaled(240, 7_200))


@pytest.fixture
def newest(server: Server, harness: PostgresHarness) -> PostgresHarness:
    """Give the newest server; every one at full length."""
    if not LONG and "18" not in str(server.binaries):
        pytest.skip("briefly on the newest version only; `make faults` does it on all")
    return harness


def test_all_clients_see_one_order_and_never_an_older_state(newest: PostgresHarness, tmp_path: Path) -> None:
    asyncio.run(newest.prepare())
    notes, final = list_append(newest.url, tmp_path, seconds=SECONDS)
    tell("PostgreSQL list-append", seconds=SECONDS, calls=len(notes), stored=sum(map(len, final.values())))

    assert anomalies(notes, final) == []
    assert sum(map(len, final.values())) == sum(isinstance(note, Appended) for note in notes) > SECONDS * 30


async def test_messages_whose_replies_were_lost_are_stored_once_each_in_order(newest: PostgresHarness) -> None:
    stored, unanswered = await _stored_through_losses(newest, same_key=True)
    tell("PostgreSQL lost replies", appends=APPENDS, unanswered=unanswered, stored=sum(map(len, stored)))

    assert unanswered > APPENDS * LOST / 2
    assert stored == EVERYTHING_ONCE


async def test_a_client_that_repeats_under_another_key_is_caught(newest: PostgresHarness) -> None:
    stored, _ = await _stored_through_losses(newest, same_key=False)

    assert sum(map(len, stored)) > APPENDS


async def _stored_through_losses(harness: PostgresHarness, *, same_key: bool) -> tuple[Texts, int]:
    there = harness.server.port

    async def open_at(port: int) -> PostgresStore:
        return await open_postgres(replace(harness.address, dsn=harness.address.dsn.replace(f":{there}/", f":{port}/")))

    store = await harness.open(system_clock)
    return await append_through_losses(store, there, open_at, same_key=same_key)


async def test_nothing_acknowledged_is_lost_when_the_server_crashes_under_load(newest: PostgresHarness) -> None:
    acknowledged, stored = await append_through_crashes(await newest.open(system_clock), newest.server)
    tell("PostgreSQL crashes", crashes=CRASHES, acknowledged=sum(map(len, acknowledged)))

    assert stored == acknowledged
    assert min(map(len, acknowledged)) > CRASHES


async def test_a_service_whose_database_is_away_says_so_at_once_and_goes_on_when_it_is_back(
    newest: PostgresHarness, tmp_path: Path
) -> None:
    outcome = await while_away(tmp_path, {"CHATKEEP_STORE_URL": newest.url}, newest.server)
    tell("PostgreSQL away", p99=round(outcome.slow_refusal_seconds, 2), recovery=round(outcome.recovery_seconds, 2))

    check(outcome)
