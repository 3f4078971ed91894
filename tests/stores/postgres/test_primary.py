"""Several hosts, of which one takes writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.stores.postgres.conftest import PostgresHarness, Server, running

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.postgres import open_postgres
from chatkeep.testing.calls import say, texts


@pytest.fixture
def reading(server: Server) -> Iterator[Server]:
    """Give another server of the same version, which takes no writes."""
    with running(server.binaries, {"default_transaction_read_only": "on"}) as reading:
        yield reading


async def test_only_a_host_that_takes_writes_is_spoken_to(harness: PostgresHarness, reading: Server) -> None:
    primary, standby = f":{harness.server.port}/", f":{reading.port}/"
    alone = harness.address.dsn.replace(primary, standby)
    both = harness.address.dsn.replace(primary, f":{reading.port},127.0.0.1{primary}")

    with pytest.raises(Unavailable, match="name the primary"):
        await open_postgres(replace(harness.address, dsn=alone))
    store = await open_postgres(replace(harness.address, dsn=both))
    await say(store, "to the primary")
    assert await texts(store) == ["to the primary"]
    await store.close()
