"""A pooler between the store and its database."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.servers import free_port, missing, wait_for
from tests.stores.postgres.conftest import PostgresHarness

from chatkeep.domain.errors import NotSupported
from chatkeep.ports.clock import system_clock
from chatkeep.stores.postgres import Address, open_postgres
from chatkeep.testing.calls import say, texts

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def pooler(harness: PostgresHarness, mode: str) -> Iterator[Address]:
    """Run PgBouncer in front of the database, and give the address of the tables behind it."""
    if PROGRAM is None:
        missing("pgbouncer")
    port = free_port()
    folder = Path(mkdtemp(prefix="chatkeep-pooler-"))
    folder.chmod(0o755)
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={harness.server.port} user=chatkeep\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = {mode}\n"
        "unix_socket_dir =\nsyslog = 0\n",
        "utf-8",
    )
    command = [PROGRAM, "-q", str(settings)]
    with subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL, **harness.server.run_as) as process:
        try:
            wait_for(port, process)
            yield Address.of_url(harness.url.replace(f":{harness.server.port}/", f":{port}/"))
        finally:
            process.kill()
    shutil.rmtree(folder)


async def test_a_pooler_that_keeps_connections_apart_is_served_through(harness: PostgresHarness) -> None:
    with pooler(harness, "session") as address:
        store = await open_postgres(address)
        await say(store, "through a pooler")
        async with store._connections.one() as raw:
            told = [await raw.fetchval(f"SHOW {name}") for name in ("search_path", "plan_cache_mode", "jit")]
        said = await texts(store)
        await store.close()

    assert said == ["through a pooler"] == await texts(await harness.open(system_clock))
    assert told == [harness.schema, "force_generic_plan", "off"]


async def test_a_pooler_that_hands_connections_on_is_refused_with_the_remedy(harness: PostgresHarness) -> None:
    with pooler(harness, "transaction") as address, pytest.raises(NotSupported, match="session mode"):
        await open_postgres(address)
