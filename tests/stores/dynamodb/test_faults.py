"""Many clients at once, and lost replies: nothing that was acknowledged is lost, and nothing is stored twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from tests.faults.databases import (
    APPENDS,
    EVERYTHING_ONCE,
    LOST,
    Texts,
    append_everything,
    append_through_losses,
    create_sessions,
    stored_texts,
)
from tests.faults.history import Appended, anomalies
from tests.faults.listing import SECONDS, SECONDS_ELSEWHERE, list_append
from tests.faults.scale import scaled, tell
from tests.stores.dynamodb.conftest import DynamoHarness

from chatkeep.ports.clock import system_clock
from chatkeep.stores.dynamodb import DynamoStore, open_dynamodb

THROTTLED = 0.3

pytestmark = pytest.mark.timeout(scaled(240, 7_200))


async def test_all_clients_see_one_order_and_never_an_older_state(
    request: pytest.FixtureRequest, harness: DynamoHarness, tmp_path: Path
) -> None:
    seconds = SECONDS if request.node.callspec.params["endpoint"] == "dynoxide" else SECONDS_ELSEWHERE
    address = harness.address
    url = f"dynamodb://eu-west-1/{address.prefix}?endpoint={address.endpoint}"
    notes, final = await asyncio.to_thread(list_append, url, tmp_path, seconds=seconds)
    tell("DynamoDB list-append", seconds=seconds, calls=len(notes), stored=sum(map(len, final.values())))

    assert anomalies(notes, final) == []
    assert sum(map(len, final.values())) == sum(isinstance(note, Appended) for note in notes) > seconds * 5


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


@asynccontextmanager
async def _throttling(endpoint: str) -> AsyncIterator[str]:
    """Give an endpoint that hands requests on and refuses some, as a table does beyond its capacity."""
    chance = random.Random(5)  # noqa: S311 -- the same refusals on every run
    refusal = {
        "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        "message": "slow down",
    }

    async def hand_on(request: web.Request) -> web.Response:
        body = await request.read()
        if chance.random() < THROTTLED:
            return web.json_response(refusal, status=400, content_type="application/x-amz-json-1.0")
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        async with session.post(endpoint, data=body, headers=headers) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)

    application = web.Application(client_max_size=2**24)
    application.router.add_post("/", hand_on)
    runner = web.AppRunner(application)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def test_appends_that_are_throttled_midway_are_stored_once_each_in_order(harness: DynamoHarness) -> None:
    store = await harness.open(system_clock)
    await create_sessions(store)
    assert harness.address.endpoint is not None

    async with _throttling(harness.address.endpoint) as endpoint:
        through = await open_dynamodb(replace(harness.address, endpoint=endpoint))
        refused = await append_everything(through)
        await through.close()
    tell("DynamoDB throttled", appends=APPENDS, refused=refused)

    assert refused > APPENDS * THROTTLED
    assert await stored_texts(store) == EVERYTHING_ONCE
