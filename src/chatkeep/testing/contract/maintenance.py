"""The unscoped side."""

from __future__ import annotations

from datetime import timedelta

from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import HIDDEN_UNTIL_MESSAGE, NewSession, SessionPatch
from chatkeep.testing.calls import ALICE, BOB, LEASE, NEW, claim, events, found, say, seqs, texts
from chatkeep.testing.clock import FakeClock
from chatkeep.testing.harness import AnyStore, StoreHarness
from chatkeep.testing.samples import NEIGHBOURS
from chatkeep.testing.suite import Suite

TICK = timedelta(milliseconds=1)
TTL = timedelta(hours=1)


class MaintenanceTests(Suite):
    """What the janitor and the command line do."""

    async def test_scopes_are_walked_in_pages(self, store: AnyStore) -> None:
        scopes = {scope for scope, _ in NEIGHBOURS}
        for scope in scopes:
            await store.create_session(scope, "s", NEW)

        walked: list[Scope] = []
        while page := await store.iter_scopes(after=walked[-1] if walked else None, limit=7):
            assert len(page) <= 7
            walked += page

        assert len(walked) == len(set(walked))
        assert set(walked) == scopes

    async def test_a_scope_without_sessions_is_not_walked(self, store: AnyStore) -> None:
        await say(store, "a")
        await say(store, "b", scope=BOB)
        await store.purge_session(ALICE, "s")

        assert list(await store.iter_scopes()) == [BOB]

    async def test_gone_sessions_are_due_and_live_ones_are_not(self, store: AnyStore, clock: FakeClock) -> None:
        await say(store, "a", session="live")
        await say(store, "a", session="later", idle_ttl=TTL + TICK)
        await say(store, "a", session="pinned", idle_ttl=TTL)
        await store.update_session(ALICE, "pinned", SessionPatch(state="pinned"))
        expired = await say(store, "a", session="expired", idle_ttl=TTL)
        await say(store, "a", session="trashed", scope=BOB)
        trashed = await store.trash_session(BOB, "trashed", until=clock.now + TTL)
        clock.advance(TTL - TICK)
        early = await store.due_sessions()
        clock.advance(TICK)

        due = await store.due_sessions()

        assert list(early) == []
        assert set(due) == {
            (ALICE, "expired", expired.session.incarnation),
            (BOB, "trashed", trashed.incarnation),
        }
        assert len(await store.due_sessions(limit=1)) == 1

    async def test_a_due_session_is_purged_whole(
        self, store: AnyStore, harness: StoreHarness, clock: FakeClock
    ) -> None:
        await say(store, "a", "b", idle_ttl=TTL)
        await store.put_state(ALICE, "s", "k", b"v", expected_version=0)
        await claim(store)
        await store.append_events(ALICE, "r", events(1, 3), token=1, lease=LEASE)
        clock.advance(TTL)

        [(scope, session_id, incarnation)] = await store.due_sessions()
        receipt = await store.purge_gone(scope, session_id, incarnation)
        again = await store.purge_gone(scope, session_id, incarnation)
        while await store.sweep(events_before=clock.now):
            pass

        assert receipt.removed["sessions"] == 1
        assert receipt.removed["messages"] == 2
        assert not any(again.removed.values())
        assert list(await store.due_sessions()) == []
        assert list(await harness.rows()) == []

    async def test_a_session_that_came_back_to_life_is_not_purged(self, store: AnyStore, clock: FakeClock) -> None:
        appended = await say(store, "a", idle_ttl=TTL)
        clock.advance(TTL)
        due = await store.due_sessions()
        clock.advance(-TICK)
        await say(store, "b")
        clock.advance(TTL)

        receipt = await store.purge_gone(ALICE, "s", appended.session.incarnation)

        assert [session_id for _, session_id, _ in due] == ["s"]
        assert not any(receipt.removed.values())
        assert await texts(store) == ["a", "b"]

    async def test_the_next_incarnation_is_not_purged_for_the_old_one(self, store: AnyStore, clock: FakeClock) -> None:
        old = await say(store, "old", idle_ttl=TTL)
        clock.advance(TTL)
        await say(store, "new", idle_ttl=TTL)
        clock.advance(TTL)
        gone = await store.due_sessions()
        await say(store, "newest")

        receipt = await store.purge_gone(ALICE, "s", old.session.incarnation)
        for _, session_id, incarnation in gone:
            await store.purge_gone(ALICE, session_id, incarnation)

        assert not any(receipt.removed.values())
        assert await texts(store) == ["newest"]

    async def test_a_live_or_missing_session_is_not_purged(self, store: AnyStore) -> None:
        appended = await say(store, "a")

        live = await store.purge_gone(ALICE, "s", appended.session.incarnation)
        missing = await store.purge_gone(ALICE, "other", "incarnation")

        assert not any(live.removed.values())
        assert not any(missing.removed.values())
        assert await texts(store) == ["a"]

    async def test_runs_whose_lease_is_over_are_found(self, store: AnyStore, clock: FakeClock) -> None:
        for session_id in ("waits", "over", "fresh", "trashed", "gone"):
            await say(store, "a", session=session_id, idle_ttl=LEASE if session_id == "gone" else None)
        await claim(store, "r1", session="waits")
        await claim(store, "r2", session="over")
        await store.finish_run(ALICE, "r2", "complete", token=1)
        await claim(store, "r4", session="trashed")
        await store.trash_session(ALICE, "trashed", until=clock.now + TTL)
        await claim(store, "r5", session="gone")
        clock.advance(LEASE - TICK)
        await claim(store, "r3", session="fresh")
        early = await store.expired_runs()
        clock.advance(TICK)

        late = await store.expired_runs()
        await store.take_run(ALICE, "r1", lease=LEASE)

        assert list(early) == []
        assert list(late) == [(ALICE, "r1")]
        assert list(await store.expired_runs()) == []

    async def test_a_lease_that_a_clock_set_back_has_shortened_is_found_when_it_ends(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await store.create_session(ALICE, "s", NEW)
        await claim(store)
        clock.advance(-timedelta(hours=1))
        await store.append_events(ALICE, "r", [], token=1, lease=LEASE)

        early = await store.expired_runs()
        clock.advance(LEASE)
        late = await store.expired_runs()

        assert (list(early), list(late)) == ([], [(ALICE, "r")])

    async def test_expired_runs_come_from_all_scopes_up_to_the_limit(self, store: AnyStore, clock: FakeClock) -> None:
        scopes = [scope for scope, _ in NEIGHBOURS[:6]]
        for scope in set(scopes):
            await store.create_session(scope, "s", NEW)
            await claim(store, scope=scope)
        clock.advance(LEASE)

        assert set(await store.expired_runs()) == {(scope, "r") for scope in scopes}
        assert len(await store.expired_runs(limit=2)) == 2

    async def test_a_sweep_drops_the_events_of_old_runs_and_comes_to_an_end(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await say(store, "a", session="old")
        await say(store, "a", session="new")
        await claim(store, "old", session="old")
        await store.finish_run(ALICE, "old", "complete", token=1, events=events(1, 5))
        clock.advance(TTL)
        border = clock.now
        await claim(store, "new", session="new")
        await claim(store, "running", session="old")
        await store.append_events(ALICE, "running", events(1, 5), token=1, lease=LEASE)
        await store.finish_run(ALICE, "new", "complete", token=1, events=events(1, 5))

        swept = 0
        while removed := await store.sweep(events_before=border, limit=2):
            swept += removed

        assert swept >= 5
        assert list(await store.read_events(ALICE, "old")) == []
        assert list(await store.read_events(ALICE, "new")) == events(1, 5)
        assert list(await store.read_events(ALICE, "running")) == events(1, 5)

    async def test_a_sweep_removes_nothing_that_anybody_can_reach(self, store: AnyStore, clock: FakeClock) -> None:
        await say(store, *"abcdef", key="k")
        await store.prune(ALICE, "s", before_seq=3)
        await say(store, "x", session="purged")
        await store.purge_session(ALICE, "purged")
        before = await found(store)

        while await store.sweep(events_before=clock.now, limit=1):
            pass

        assert await found(store) == before
        assert await seqs(store) == [3, 4, 5, 6]
        assert (await say(store, *"abcdef", key="k")).repeated

    async def test_live_and_listed_sessions_are_counted_in_all_scopes(self, store: AnyStore, clock: FakeClock) -> None:
        for scope in (ALICE, BOB):
            await store.create_session(scope, "active", NEW)
            await store.create_session(scope, "archived", NewSession(state="archived"))
            await store.create_session(scope, "hidden", NewSession(hidden=HIDDEN_UNTIL_MESSAGE))
            await store.create_session(scope, "expired", NewSession(idle_ttl=TICK))
            await store.create_session(scope, "trashed", NEW)
            await store.trash_session(scope, "trashed", until=clock.now + TTL)
        clock.advance(TICK)

        assert await store.count_sessions() == 4
        assert await store.count_sessions(most=3) == 3

    async def test_the_schema_is_the_wanted_one(self, store: AnyStore) -> None:
        schema = await store.schema()

        assert schema["version"] == schema["wanted"]
