"""The MongoDB engine meets the contract, on an emulator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from chatkeep.testing import StoreContract, StoreHarness
from chatkeep.testing.machine import run_in_lockstep

PARTS = 2

# The driver watches its servers with connections of its own, and forgets to close one that it is about to make when
# the client is closed.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


class TestMongoStore(StoreContract):
    """The fixture `harness` is in conftest."""


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_in_lockstep_with_the_memory_store(
    open_harness: Callable[[], AbstractAsyncContextManager[StoreHarness]], part: int
) -> None:
    run_in_lockstep(open_harness, part=(part, PARTS))
