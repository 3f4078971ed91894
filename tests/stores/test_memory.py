"""The memory store meets the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chatkeep.domain.errors import Unavailable
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.stores.memory import MemoryStore, Tables
from chatkeep.testing import FakeClock, MemoryHarness, StoreContract, StoreHarness
from chatkeep.testing.calls import ALICE, LEASE, claim, events, found, new_run, say
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


async def test_a_full_store_refuses_what_does_not_fit_and_goes_on() -> None:
    store = MemoryStore(FakeClock(), max_bytes=20_000)
    await say(store, "a" * 10_000)
    before = await found(store)

    for call in (
        say(store, "b" * 10_000),
        say(store, "b" * 20_000, session="new"),
        store.put_state(ALICE, "s", "k", bytes(10_000), expected_version=0),
        store.claim_run(ALICE, "s", new_run(request="x" * 10_000), lease=LEASE),
    ):
        with pytest.raises(Unavailable, match="full"):
            await call

    assert await found(store) == before
    assert await store.find_session(ALICE, "new") is None
    await store.redact(ALICE, "s", 1)
    assert (await say(store, "b" * 10_000)).first_seq == 2


async def test_what_was_removed_no_longer_counts() -> None:
    tables = Tables()
    store = MemoryStore(FakeClock(), tables=tables)
    await say(store, *"abc", create=NewSession(metadata={"k": "v"}))
    await store.update_session(ALICE, "s", SessionPatch(metadata={"k": "longer"}))
    await store.put_state(ALICE, "s", "k", b"one", expected_version=0)
    await store.put_state(ALICE, "s", "k", b"longer", expected_version=1)
    await store.redact(ALICE, "s", 1)
    await store.prune(ALICE, "s", before_seq=2)
    await claim(store)
    await store.finish_run(ALICE, "r", "complete", token=1, events=events(1, 3))
    await store.drop_events(ALICE, "r")
    counted = tables.size

    await store.purge_session(ALICE, "s")

    assert counted > 0
    assert (tables.size, tables.shelves, tables.runs) == (0, {}, {})
