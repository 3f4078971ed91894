"""Lost replies, crashes and failovers: nothing that was acknowledged is lost, and nothing is stored twice."""

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
from tests.faults.listing import SECONDS, SECONDS_ELSEWHERE, list_append
from tests.faults.scale import LONG, scaled, tell
from tests.stores.redis.conftest import Cluster, RedisHarness, Server

from chatkeep.domain.errors import NotSupported, Timeout
from chatkeep.ports.clock import system_clock
from chatkeep.stores.redis import RedisStore, open_redis
from chatkeep.testing.calls import ALICE, read_all, say

pytestmark = pytest.mark.timeout(scaled(240, 7_200))


@pytest.fixture
def alone(server: Server | Cluster, harness: RedisHarness) -> Server:
    """Give Valkey; at full length each product that is one server."""
    if isinstance(server, Cluster) or (not LONG and "valkey" not in harness._raw.engine.lower()):
        pytest.skip("briefly on Valkey alone; `make faults` does it on each server")
    return server


def test_all_clients_see_one_order_and_never_an_older_state(
    request: pytest.FixtureRequest, server: Server | Cluster, tmp_path: Path
) -> None:
    seconds = SECONDS if request.node.callspec.params["server"] == "valkey-9" else SECONDS_ELSEWHERE
    notes, final = list_append(f"{server.url}?prefix=listappend", tmp_path, seconds=seconds)
    tell("Redis list-append", seconds=seconds, calls=len(notes), stored=sum(map(len, final.values())))

    assert anomalies(notes, final) == []
    assert sum(map(len, final.values())) == sum(isinstance(note, Appended) for note in notes) > seconds * 30


async def test_messages_whose_replies_were_lost_are_stored_once_each_in_order(
    alone: Server, harness: RedisHarness
) -> None:
    stored, unanswered = await _stored_through_losses(alone, harness, same_key=True)
    tell("Redis lost replies", appends=APPENDS, unanswered=unanswered, stored=sum(map(len, stored)))

    assert unanswered > APPENDS * LOST / 2
    assert stored == EVERYTHING_ONCE


async def test_a_client_that_repeats_under_another_key_is_caught(alone: Server, harness: RedisHarness) -> None:
    stored, _ = await _stored_through_losses(alone, harness, same_key=False)

    assert sum(map(len, stored)) > APPENDS


async def _stored_through_losses(server: Server, harness: RedisHarness, *, same_key: bool) -> tuple[Texts, int]:
    async def open_at(port: int) -> RedisStore:
        return await open_redis(replace(harness.address, hosts=(("127.0.0.1", port),)))

    return await append_through_losses(await harness.open(system_clock), server.port, open_at, same_key=same_key)


async def test_nothing_acknowledged_is_lost_when_the_server_crashes_under_load(
    alone: Server, harness: RedisHarness
) -> None:
    acknowledged, stored = await append_through_crashes(await harness.open(system_clock), alone)
    tell("Redis crashes", crashes=CRASHES, acknowledged=sum(map(len, acknowledged)))

    assert stored == acknowledged
    assert min(map(len, acknowledged)) > CRASHES


async def test_a_server_that_answers_before_it_writes_is_refused_unless_the_url_allows_it(
    alone: Server, harness: RedisHarness
) -> None:
    await asyncio.to_thread(_configure, alone, "appendfsync", "everysec")
    try:
        with pytest.raises(NotSupported, match=r"appendfsync always.*sync=none"):
            await open_redis(harness.address)
        await (await open_redis(replace(harness.address, sync="none"))).close()
    finally:
        await asyncio.to_thread(_configure, alone, "appendfsync", "always")


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_a_server_that_removes_any_key_when_it_is_full_is_refused(
    alone: Server, harness: RedisHarness, policy: str
) -> None:
    try:
        await asyncio.to_thread(_configure, alone, "maxmemory-policy", policy)
        with pytest.raises(NotSupported, match="maxmemory-policy noeviction"):
            await open_redis(replace(harness.address, sync="none"))
        await asyncio.to_thread(_configure, alone, "maxmemory-policy", "volatile-lru")
        await (await open_redis(harness.address)).close()
    finally:
        await asyncio.to_thread(_configure, alone, "maxmemory-policy", "noeviction")


def _configure(server: Server, name: str, value: str) -> None:
    with server.raw() as raw:
        raw.config_set(name, value)


async def test_too_few_replicas_are_an_unknown_outcome_and_a_repeat_is_told_so_too(harness: RedisHarness) -> None:
    store = await open_redis(replace(harness.address, replicas=1), answer_seconds=0.4)
    for _ in range(2):
        with pytest.raises(Timeout, match="0 of 1 replicas"):
            await say(store, "a", key="k")
    await store.close()

    assert [message.text for message in await read_all(harness._raw)] == ["a"]


async def test_a_call_that_is_cancelled_leaves_no_answer_for_the_next(harness: RedisHarness) -> None:
    store = await open_redis(replace(harness.address, replicas=1), answer_seconds=1.0)
    for at in range(5):
        waiting = asyncio.create_task(say(store, f"{at}", session=f"s{at}", key="k"))
        await asyncio.sleep(0.02)
        waiting.cancel()
        assert await store.find_session(ALICE, "nobody's") is None
    await store.close()


async def test_a_service_whose_database_is_away_says_so_at_once_and_goes_on_when_it_is_back(
    alone: Server, harness: RedisHarness, tmp_path: Path
) -> None:
    url = f"{alone.url}?prefix={harness.address.prefix}"
    outcome = await while_away(tmp_path, {"CHATKEEP_STORE_URL": url}, alone)
    tell("Redis away", p99=round(outcome.slow_refusal_seconds, 2), recovery=round(outcome.recovery_seconds, 2))

    check(outcome)
