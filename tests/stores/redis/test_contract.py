"""The Redis engine meets the contract."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from chatkeep.testing import StoreContract, StoreHarness
from chatkeep.testing.machine import run_in_lockstep

PARTS = 2


class TestRedisStore(StoreContract):
    """The fixture `harness` is in conftest."""


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_in_lockstep_with_the_memory_store(
    open_harness: Callable[[], AbstractAsyncContextManager[StoreHarness]], part: int
) -> None:
    run_in_lockstep(open_harness, part=(part, PARTS))
