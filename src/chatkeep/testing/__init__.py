"""The published suite: what a third party's engine has to pass.

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def harness(self) -> AsyncIterator[StoreHarness]:
            yield MyHarness(...)  # an empty database for each test

    def test_my_store_in_lockstep_with_the_memory_store() -> None:
        run_in_lockstep(my_harness)  # from chatkeep.testing.machine

An engine that declares the search capability subclasses `SearchContract` as well. Needs the extra `testing`, and
pytest-asyncio in its mode `auto`.
"""

import pytest

pytest.register_assert_rewrite("chatkeep.testing.calls", "chatkeep.testing.suite", "chatkeep.testing.contract")

from chatkeep.testing.clock import FakeClock  # noqa: E402 -- asserts are rewritten for what is imported from here on
from chatkeep.testing.contract import StoreContract  # noqa: E402 -- the same
from chatkeep.testing.contract.search import SearchContract  # noqa: E402 -- the same
from chatkeep.testing.harness import AnyStore, DriverFault, StoreHarness  # noqa: E402 -- the same
from chatkeep.testing.memory import MemoryHarness  # noqa: E402 -- the same

__all__ = [
    "AnyStore",
    "DriverFault",
    "FakeClock",
    "MemoryHarness",
    "SearchContract",
    "StoreContract",
    "StoreHarness",
]
