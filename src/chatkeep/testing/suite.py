"""What the classes of the suite have in common: their fixtures, and that none of their tests can be left out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatkeep.testing.clock import FakeClock
from chatkeep.testing.harness import AnyStore, StoreHarness

_WAYS_OUT = frozenset({"skip", "skipif", "xfail"})


class Suite:
    """A part of the contract as tests. A subclass gives the fixture `harness`, an empty database, and nothing else.

    A subclass that replaces a test, or marks the class as skipped, is refused: a clause that an engine cannot meet is
    changed for all, or becomes a capability.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        owners: dict[str, type] = {}
        for owner in reversed(cls.__mro__):
            for name in vars(owner):
                if not name.startswith("test_"):
                    continue
                if name in owners:
                    raise TypeError(f"{owner.__name__}.{name} replaces a test of the contract; none may be left out")
                owners[name] = owner
        marks = vars(cls).get("pytestmark", [])
        for mark in marks if isinstance(marks, list) else [marks]:
            if mark.name in _WAYS_OUT:
                raise TypeError(f"{cls.__name__} is marked {mark.name}; no test of the contract may be left out")

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Give the clock of the store."""
        return FakeClock()

    @pytest.fixture
    async def store(self, harness: StoreHarness, clock: FakeClock) -> AsyncIterator[AnyStore]:
        """Give a handle to the empty database; nothing may be left of it at the end."""
        store = await harness.open(clock)
        yield store
        await store.close()
        assert list(harness.leaks()) == []

    @pytest.fixture
    async def second_store(
        self,
        harness: StoreHarness,
        clock: FakeClock,
        store: AnyStore,  # noqa: ARG002 -- opened before and closed after, so that its check for leaks sees both
    ) -> AsyncIterator[AnyStore]:
        """Give another handle to the same database."""
        second = await harness.open(clock)
        yield second
        await second.close()
