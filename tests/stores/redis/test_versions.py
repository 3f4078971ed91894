"""Which schemas of the keys this release runs on."""

from __future__ import annotations

import pytest
from tests.stores.redis.conftest import RedisHarness

from chatkeep.domain.errors import MigrationNeeded, NotSupported
from chatkeep.stores.redis import open_redis
from chatkeep.testing.calls import say


async def test_keys_of_no_release_need_a_migration(harness: RedisHarness) -> None:
    await harness._raw._ask("DEL", harness._raw._names.schema)

    with pytest.raises(MigrationNeeded) as error:
        await open_redis(harness.address, migrate=False)

    assert error.value.steps == ("1 keys",)


async def test_the_next_schema_is_served_and_left_as_it_is_and_a_later_one_refused(harness: RedisHarness) -> None:
    name = harness._raw._names.schema
    await harness._raw._ask("SET", name, 2)

    store = await open_redis(harness.address)
    await say(store, "served")
    await store.close()
    assert await harness._raw._ask("GET", name) == b"2"

    await harness._raw._ask("SET", name, 3)
    with pytest.raises(NotSupported, match="upgrade Chatkeep"):
        await open_redis(harness.address)
