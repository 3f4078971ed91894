"""The memory store meets the contract."""

from __future__ import annotations

import pytest

from chatkeep.testing import MemoryHarness, StoreContract, StoreHarness


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def harness(self) -> StoreHarness:
        return MemoryHarness()
