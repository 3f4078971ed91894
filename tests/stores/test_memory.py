"""The memory store meets the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chatkeep.testing import MemoryHarness, StoreContract, StoreHarness
from chatkeep.testing.machine import run_in_lockstep


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def harness(self) -> StoreHarness:
        return MemoryHarness()


@asynccontextmanager
async def _memory() -> AsyncIterator[StoreHarness]:
    yield MemoryHarness()


def test_the_memory_store_in_lockstep_with_itself() -> None:
    run_in_lockstep(_memory)
