"""Several hosts, of which one takes writes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.stores.postgres.conftest import PostgresHarness, Server

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.postgres import open_postgres
from chatkeep.testing.calls import say, texts


async def test_only_a_host_that_takes_writes_is_spoken_to(harness: PostgresHarness, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    place = tmp_path / "data"
    place.mkdir(mode=0o700)
    reading = Server(harness.server.binaries, place, {"default_transaction_read_only": "on"})
    await asyncio.to_thread(reading.start)
    primary, standby = f":{harness.server.port}/", f":{reading.port}/"
    alone = harness.address.dsn.replace(primary, standby)
    both = harness.address.dsn.replace(primary, f":{reading.port},127.0.0.1{primary}")
    try:
        with pytest.raises(Unavailable, match="name the primary"):
            await open_postgres(replace(harness.address, dsn=alone))
        store = await open_postgres(replace(harness.address, dsn=both))
        await say(store, "to the primary")
        assert await texts(store) == ["to the primary"]
        await store.close()
    finally:
        await asyncio.to_thread(reading.stop, how="immediate")
