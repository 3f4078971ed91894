"""The servers of the comparison: those that the tests start, in folders in memory."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

import asyncpg
from tests.servers import free_port, wait_for
from tests.stores.dynamodb import conftest as dynamodb
from tests.stores.mongodb import conftest as mongodb
from tests.stores.postgres import conftest as postgres
from tests.stores.redis import conftest as redis

from benchmarks.compare import Serving

_POSTGRES = "postgresql-18"
_MEMORY = "/dev/shm"  # noqa: S108 -- a folder of one's own is made in it


_Started = TypeVar("_Started", bound="_Postgres | _Redis | _Mongo")


class _Postgres(postgres.Server):
    def place(self, side: str) -> str:
        asyncio.run(self._make(side))
        return f"postgresql://chatkeep@127.0.0.1:{self.port}/{side}"

    async def _make(self, side: str) -> None:
        raw = await asyncpg.connect(f"postgresql://chatkeep@127.0.0.1:{self.port}/postgres")
        await raw.execute(f'CREATE DATABASE "{side}"')
        await raw.close()


class _Redis(redis.Server):
    _databases = 0

    def place(self, side: str) -> str:
        del side
        self._databases += 1
        return f"{self.url}/{self._databases}"


class _Mongo(mongodb.Server):
    def place(self, side: str) -> str:
        return f"{self.url}/{side}"


class _Dynamo:
    def __init__(self, port: int) -> None:
        self._port = port

    def place(self, side: str) -> str:
        return f"dynamodb://us-east-1/{side}-?endpoint=http://127.0.0.1:{self._port}"


@contextmanager
def _folder() -> Iterator[Path]:
    made = Path(mkdtemp(prefix="chatkeep-bench-", dir=_MEMORY))
    made.chmod(0o755)  # PostgreSQL runs as somebody else
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextmanager
def _started(server: _Started) -> Iterator[_Started]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _on_postgres(library: Path) -> Serving:
    @contextmanager
    def serving(sync_us: int) -> Iterator[_Postgres]:
        with _folder() as folder:
            (folder / "data").mkdir(mode=0o700)
            shared = str(shutil.copy(library, folder))
            options = {"fsync": "on", "shared_buffers": "256MB"}
            environment = {"LD_PRELOAD": shared, "BENCH_SYNC_US": str(sync_us)}
            with _started(_Postgres(postgres.PRODUCTS[_POSTGRES], folder / "data", options, environment)) as server:
                yield server

    return serving


def _on_redis(_library: Path) -> Serving:
    @contextmanager
    def serving(_sync_us: int) -> Iterator[_Redis]:
        with _folder() as folder, _started(_Redis(redis.VALKEY, folder / "data")) as server:
            yield server

    return serving


def _on_mongodb(_library: Path) -> Serving:
    return lambda _sync_us: _started(_Mongo())


def _on_dynamodb(_library: Path) -> Serving:
    @contextmanager
    def serving(_sync_us: int) -> Iterator[_Dynamo]:
        port = free_port()
        command = dynamodb.dynoxide(port)
        if command is None:
            raise SystemExit("dynoxide is not installed; run `make servers`")
        with (
            _folder() as folder,
            subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
        ):
            wait_for(port, server)
            yield _Dynamo(port)
            server.terminate()

    return serving


SERVERS = {"PostgreSQL": _on_postgres, "Redis": _on_redis, "MongoDB": _on_mongodb, "DynamoDB": _on_dynamodb}
"""What starts the server of an engine, given the library that makes syncs cost a fixed time."""
PRODUCTS = {
    "PostgreSQL": "PostgreSQL 18, `synchronous_commit` on, data in memory",
    "Redis": "Valkey 9, `appendfsync always`, data in memory",
    "MongoDB": "mongo-java-server, an **emulator** that keeps nothing on a disk. For a condition on `_id` and one "
    "more field, as Chatkeep's writes have, and for a range of `_id`, as its reads have, it looks through the whole "
    "collection; MongoDB has an index for both. What grows here with the number of sessions or messages is "
    "the emulator's",
    "DynamoDB": "dynoxide, an **emulator**",
}
