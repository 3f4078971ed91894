"""Opening, closing, and what is left behind; and how a driver's failures look."""

from __future__ import annotations

import inspect

import pytest

from chatkeep.domain.errors import Unavailable
from chatkeep.testing.calls import ALICE, NEW, say, texts
from chatkeep.testing.clock import START, FakeClock
from chatkeep.testing.contract.isolation import CALLS
from chatkeep.testing.harness import AnyStore, StoreHarness
from chatkeep.testing.suite import Suite


class LifecycleTests(Suite):
    """A store from its opening to its end."""

    async def test_an_open_store_answers_and_says_what_it_is(self, store: AnyStore) -> None:
        await store.ping()

        assert store.engine.strip()

    async def test_what_was_acknowledged_is_there_after_closing_and_opening_again(
        self, harness: StoreHarness, clock: FakeClock
    ) -> None:
        first = await harness.open(clock)
        appended = await say(first, "a", "b", key="k")
        await first.close()

        second = await harness.open(clock)
        seen = await texts(second)
        repeat = await say(second, "a", "b", key="k")
        await second.close()

        assert seen == ["a", "b"]
        assert repeat == appended._replace(repeated=True, messages=())
        assert list(harness.leaks()) == []

    async def test_closing_twice_is_harmless(self, store: AnyStore) -> None:
        await store.close()
        await store.close()

    async def test_a_closed_store_is_unavailable_for_every_call(self, store: AnyStore) -> None:
        await say(store, "a")
        await store.close()

        for call in CALLS.values():
            with pytest.raises(Unavailable):
                await call(store, ALICE)
        for maintain in (
            store.ping,
            store.iter_scopes,
            store.due_sessions,
            store.expired_runs,
            store.count_sessions,
            store.schema,
            lambda: store.purge_gone(ALICE, "s", "incarnation"),
            lambda: store.sweep(events_before=START),
            lambda: store.create_session(ALICE, "t", NEW),
            lambda: store.ensure_session(ALICE, "t", NEW),
        ):
            with pytest.raises(Unavailable):
                await maintain()

    async def test_closing_one_handle_leaves_the_other(self, store: AnyStore, second_store: AnyStore) -> None:
        await say(store, "a")

        await store.close()

        assert await texts(second_store) == ["a"]

    async def test_every_failure_of_the_driver_is_an_error_of_ours_with_its_cause(self, harness: StoreHarness) -> None:
        for fault in harness.driver_errors():
            with pytest.raises(fault.expected) as error:
                await fault.provoke()
            assert error.type is fault.expected, fault.name
            assert error.value.__cause__ is not None, fault.name

    async def test_every_call_is_a_coroutine_with_the_names_of_the_contract(self, store: AnyStore) -> None:
        for name, declared in inspect.getmembers(AnyStore, inspect.isfunction):
            if name.startswith("_"):
                continue
            offered = getattr(store, name)
            assert inspect.iscoroutinefunction(offered), name
            wanted = list(inspect.signature(declared).parameters.values())[1:]
            given = list(inspect.signature(offered).parameters.values())
            assert [(p.name, p.kind, p.default) for p in given] == [(p.name, p.kind, p.default) for p in wanted], name
