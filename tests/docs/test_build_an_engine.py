"""The engine that a how-to builds keeps the contract."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.docs.test_documents import ROOT, blocks
from tests.items import corrupt, counts, dump

from chatkeep import engines
from chatkeep.domain.errors import Unavailable
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock
from chatkeep.stores.items.store import ItemStore
from chatkeep.stores.items.tables import LOG, SESSIONS, WORK
from chatkeep.testing import DriverFault, FakeClock, StoreContract, StoreHarness
from chatkeep.testing.machine import run_in_lockstep

NAME = "docs/how-to/build-an-engine.md"


@pytest.fixture(scope="module")
def built() -> Iterator[ModuleType]:
    """Give the module that the page's blocks are."""
    module = ModuleType("onetable")
    openers = dict(engines._openers)
    for block in blocks(ROOT / NAME):
        exec(compile("\n" * (block.line - 1) + block.code, NAME, "exec"), vars(module))  # noqa: S102 -- our own document
    yield module
    engines._openers.clear()
    engines._openers.update(openers)


class OneTableHarness:
    """A file of its own."""

    def __init__(self, module: ModuleType, folder: Path) -> None:
        self._module = module
        self._path = folder / "chats.db"
        self._stores: list[Any] = []

    async def open(self, clock: Clock) -> Any:
        opened = await engines.open_store(f"onetable:///{self._path}", clock)
        assert isinstance(opened.store, ItemStore)
        self._stores.append(opened.store)
        return opened.store

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        store = await self.open(FakeClock())
        await corrupt(store, scope, session_id, seq)
        await store.close()

    async def rows(self) -> Sequence[bytes]:
        store = await self.open(FakeClock())
        found = []
        for table in (SESSIONS, LOG, WORK):
            items, _ = await store._tables.scan(table, (), page=100_000)
            found += [dump(item) for item in items if counts(table, item)]
        await store.close()
        return found

    def leaks(self) -> Sequence[str]:
        return [f"{store!r} is open" for store in self._stores if store._tables._thread is not None]

    def driver_errors(self) -> Sequence[DriverFault]:
        return [
            DriverFault("no folder", self._in_no_folder, Unavailable),
            DriverFault("a table is missing", self._without_a_table, Unavailable),
        ]

    async def _in_no_folder(self) -> None:
        await engines.open_store(f"onetable:///{self._path}/nowhere/chats.db")

    async def _without_a_table(self) -> None:
        store = await self.open(FakeClock())
        raw = sqlite3.connect(self._path)
        raw.execute("DROP TABLE items")
        raw.close()
        await store.find_session(Scope("a", "b", "c"), "d")


@pytest.fixture
def open_harness(
    built: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], AbstractAsyncContextManager[OneTableHarness]]:
    """Give what opens empty databases."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[OneTableHarness]:
        harness = OneTableHarness(built, await asyncio.to_thread(tmp_path_factory.mktemp, "onetable"))
        yield harness
        for store in harness._stores:
            await store.close()

    return partial(opened)


@pytest.fixture
async def harness(
    open_harness: Callable[[], AbstractAsyncContextManager[OneTableHarness]],
) -> AsyncIterator[OneTableHarness]:
    """Give an empty database."""
    async with open_harness() as harness:
        yield harness


class TestOneTableStore(StoreContract):
    """The page's engine, under the suite that all engines pass."""


@pytest.mark.timeout(600)
def test_the_engine_in_lockstep_with_the_memory_store(
    open_harness: Callable[[], AbstractAsyncContextManager[StoreHarness]],
) -> None:
    run_in_lockstep(open_harness, part=(0, 8))
