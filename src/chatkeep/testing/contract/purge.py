"""Removal for good."""

from __future__ import annotations

import pytest

from chatkeep.domain.errors import NotFound, SessionExists
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession, SessionPatch
from chatkeep.testing.calls import (
    ALICE,
    BOB,
    NEW,
    found,
    listed,
    say,
    soon_listed,
    texts,
)
from chatkeep.testing.clock import FakeClock
from chatkeep.testing.contract.endings import TICK, TTL, assert_not_found, assert_nothing_of_old, furnish
from chatkeep.testing.harness import AnyStore, StoreHarness
from chatkeep.testing.suite import Suite


class PurgeTests(Suite):
    """Removal for good."""

    async def test_a_purge_removes_everything_and_says_what(
        self, store: AnyStore, harness: StoreHarness, clock: FakeClock
    ) -> None:
        await furnish(store)

        receipt = await store.purge_session(ALICE, "s")

        await assert_not_found(store)
        assert receipt.removed["sessions"] == 1
        assert receipt.removed["messages"] == 2
        while await store.sweep(events_before=clock.now):
            pass
        assert list(await harness.rows()) == []

    async def test_trashed_and_gone_sessions_are_purged_as_well(self, store: AnyStore, clock: FakeClock) -> None:
        await say(store, "a", session="trashed")
        await store.trash_session(ALICE, "trashed", until=clock.now + TTL)
        await say(store, "a", session="expired", idle_ttl=TTL)
        await say(store, "a", session="hidden", create=NewSession(hidden=HIDDEN_UNTIL_REVEAL))
        await store.purge_session(ALICE, "trashed")
        clock.advance(TTL)

        await store.purge_session(ALICE, "expired")
        await store.purge_session(ALICE, "hidden")

        assert await store.find_session(ALICE, "trashed", include_trashed=True) is None
        assert list(await store.due_sessions()) == []

    async def test_a_missing_session_cannot_be_purged_nor_one_twice(self, store: AnyStore) -> None:
        await say(store, "a")
        await store.purge_session(ALICE, "s")

        with pytest.raises(NotFound):
            await store.purge_session(ALICE, "s")
        with pytest.raises(NotFound):
            await store.purge_session(ALICE, "never")

    async def test_only_the_named_incarnation_is_purged(self, store: AnyStore) -> None:
        session = (await say(store, "a")).session

        with pytest.raises(NotFound):
            await store.purge_session(ALICE, "s", incarnation="another")
        kept = await texts(store)
        await store.purge_session(ALICE, "s", incarnation=session.incarnation)

        assert kept == ["a"]
        assert await store.find_session(ALICE, "s") is None

    async def test_the_next_incarnation_sees_nothing(self, store: AnyStore) -> None:
        await furnish(store)
        old = await found(store)
        await store.purge_session(ALICE, "s")

        new = await store.create_session(ALICE, "s", NEW)

        assert new.incarnation != old.incarnation
        await assert_nothing_of_old(store)

    async def test_many_incarnations_follow_each_other(self, store: AnyStore) -> None:
        incarnations = set()
        for n in range(5):
            appended = await say(store, f"life {n}", key="k")
            incarnations.add(appended.session.incarnation)
            assert await texts(store) == [f"life {n}"]
            await store.purge_session(ALICE, "s")

        assert len(incarnations) == 5
        assert await listed(store) == []

    async def test_neighbours_stay(self, store: AnyStore) -> None:
        await furnish(store)
        for session_id in ("s2", "S", "s:", "r"):
            await say(store, f"in {session_id}", session=session_id)

        await store.purge_session(ALICE, "s")

        for session_id in ("s2", "S", "s:", "r"):
            assert await texts(store, session=session_id) == [f"in {session_id}"]

    async def test_a_scope_is_erased_with_all_its_sessions(
        self, store: AnyStore, harness: StoreHarness, clock: FakeClock
    ) -> None:
        await furnish(store)
        await say(store, "a", session="archived")
        await store.update_session(ALICE, "archived", SessionPatch(state="archived"))
        await say(store, "a", session="hidden", create=NewSession(hidden=HIDDEN_UNTIL_REVEAL))
        await say(store, "a", session="trashed")
        await store.trash_session(ALICE, "trashed", until=clock.now + 10 * TTL)
        await say(store, "a", session="expired", idle_ttl=TICK)
        clock.advance(TICK)
        await say(store, "b's", scope=BOB)

        receipt = await store.erase_scope(ALICE)
        again = await store.erase_scope(ALICE)

        assert receipt.removed["sessions"] == 5
        assert receipt.removed["messages"] == 6
        assert not any(again.removed.values())
        assert await soon_listed(store, []) == []
        assert await texts(store, scope=BOB) == ["b's"]
        await store.erase_scope(BOB)
        while await store.sweep(events_before=clock.now):
            pass
        assert list(await harness.rows()) == []

    async def test_an_erased_scope_can_be_used_again(self, store: AnyStore) -> None:
        await furnish(store)
        await store.erase_scope(ALICE)

        await store.create_session(ALICE, "s", NEW)

        await assert_nothing_of_old(store)

    async def test_an_id_in_use_is_refused_until_its_session_is_purged(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        with pytest.raises(SessionExists):
            await store.create_session(ALICE, "s", NEW)
        await store.purge_session(ALICE, "s")

        await store.create_session(ALICE, "s", NEW)
