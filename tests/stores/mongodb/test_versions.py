"""Which schemas of the items this release runs on."""

from __future__ import annotations

import pytest
from tests.stores.mongodb.conftest import MongoHarness

from chatkeep.domain.errors import MigrationNeeded, NotSupported
from chatkeep.stores.items.keys import SCHEMA_KEY
from chatkeep.stores.items.tables import WORK
from chatkeep.stores.mongodb import open_mongodb
from chatkeep.testing.calls import say


async def test_items_of_no_release_need_a_migration(harness: MongoHarness) -> None:
    await harness._raw._tables.delete(WORK, SCHEMA_KEY)

    with pytest.raises(MigrationNeeded) as error:
        await open_mongodb(harness.address, migrate=False)

    assert error.value.steps == ("1 tables",)


async def test_the_next_schema_is_served_and_left_as_it_is_and_a_later_one_refused(harness: MongoHarness) -> None:
    await harness._raw._tables.put(WORK, SCHEMA_KEY, {"n": 2})

    store = await open_mongodb(harness.address)
    await say(store, "served")
    await store.close()
    assert (await harness._raw.schema())["version"] == "2"

    await harness._raw._tables.put(WORK, SCHEMA_KEY, {"n": 3})
    with pytest.raises(NotSupported, match="upgrade Chatkeep"):
        await open_mongodb(harness.address)
