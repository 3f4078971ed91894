"""How sessions end: expiry and the trash, and what comes after under the same id."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatkeep.domain.errors import Closed, NotFound
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.testing.calls import (
    ALICE,
    LEASE,
    NEW,
    claim,
    events,
    found,
    listed,
    new_run,
    say,
    seqs,
    texts,
)
from chatkeep.testing.clock import START, FakeClock
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.suite import Suite

TICK = timedelta(milliseconds=1)
TTL = timedelta(hours=1)
FAR = START + timedelta(days=36_500)
MORTAL = NewSession(idle_ttl=TTL)


async def furnish(store: AnyStore) -> None:
    """Give the session `s` some of everything that belongs to a session."""
    await store.create_session(ALICE, "s", MORTAL)
    await say(store, "old", "old too", key="k", idle_ttl=TTL)
    await store.put_state(ALICE, "s", "state", b"old", expected_version=0)
    await claim(store)
    await store.append_events(ALICE, "r", events(1, 3), token=1, lease=LEASE)


async def assert_nothing_of_old(store: AnyStore) -> None:
    """Check a fresh incarnation of `s` for traces of what `furnish` gave the old one."""
    assert await seqs(store, path="all") == []
    assert await store.get_state(ALICE, "s", "state") is None
    assert await store.find_run(ALICE, "r") is None
    with pytest.raises(NotFound):
        await store.read_events(ALICE, "r")
    session = await found(store)
    assert (session.last_seq, session.revision, session.active_run_id, session.first_seq) == (0, 1, None, 1)
    appended = await say(store, "new", key="k")
    assert (appended.first_seq, appended.repeated) == (1, False)
    assert await texts(store, path="all") == ["new"]
    assert (await store.put_state(ALICE, "s", "state", b"new", expected_version=0)).version == 1
    claimed = await store.claim_run(ALICE, "s", new_run(request="new"), lease=LEASE)
    assert (claimed.attached, claimed.run.last_event, claimed.run.request) == (False, 0, "new")
    assert list(await store.read_events(ALICE, "r")) == []


async def assert_not_found(store: AnyStore) -> None:
    """Check that no call finds the session `s` or its run, live or trashed."""
    assert await store.find_session(ALICE, "s", include_trashed=True) is None
    assert await store.find_run(ALICE, "r") is None
    assert await listed(store, SessionFilter(include_archived=True)) == []
    assert await listed(store, SessionFilter(state="trashed")) == []
    for call in (
        lambda: store.read(ALICE, "s", limit=1),
        lambda: say(store, "x", create=None),
        lambda: store.update_session(ALICE, "s", SessionPatch(title="x")),
        lambda: store.select_head(ALICE, "s", 0),
        lambda: store.prune(ALICE, "s", before_seq=1),
        lambda: store.annotate(ALICE, "s", 1, None),
        lambda: store.redact(ALICE, "s", 1),
        lambda: store.get_state(ALICE, "s", "state"),
        lambda: store.put_state(ALICE, "s", "state", b"", expected_version=1),
        lambda: store.trash_session(ALICE, "s", until=FAR),
        lambda: store.restore_session(ALICE, "s"),
        lambda: store.claim_run(ALICE, "s", new_run(), lease=LEASE),
        lambda: store.append_events(ALICE, "r", [], token=1, lease=LEASE),
        lambda: store.read_events(ALICE, "r"),
        lambda: store.cancel_run(ALICE, "r"),
        lambda: store.take_run(ALICE, "r", lease=LEASE),
        lambda: store.finish_run(ALICE, "r", "complete", token=1),
        lambda: store.drop_events(ALICE, "r"),
    ):
        with pytest.raises(NotFound):
            await call()


class ExpiryTests(Suite):
    """Sessions that nobody uses any more."""

    async def test_an_expired_session_is_found_by_no_call_from_the_exact_moment_on(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await furnish(store)

        clock.advance(TTL - TICK)
        assert await texts(store) == ["old", "old too"]
        assert await listed(store) == ["s"]
        assert await store.find_run(ALICE, "r") is not None
        clock.advance(TICK)

        await assert_not_found(store)

    async def test_a_created_session_expires_counted_from_now_though_it_is_imported(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        old = NewSession(idle_ttl=TTL, created_at=clock.now - timedelta(days=1_000))
        session = await store.create_session(ALICE, "s", old)
        clock.advance(TTL - TICK)

        assert session.expires_at == clock.now + TICK
        assert await store.find_session(ALICE, "s") == session
        clock.advance(TICK)
        assert await store.find_session(ALICE, "s") is None

    async def test_a_clock_that_steps_back_shortens_no_life(self, store: AnyStore, clock: FakeClock) -> None:
        await say(store, "a", idle_ttl=TTL)
        ends = clock.now + TTL
        clock.advance(-10 * TTL)

        appended = await say(store, "b", idle_ttl=TTL)

        assert appended.session.expires_at == ends

    async def test_an_append_extends_the_life(self, store: AnyStore, clock: FakeClock) -> None:
        await say(store, "a", idle_ttl=TTL)
        clock.advance(TTL - TICK)
        await say(store, "b", idle_ttl=TTL)
        clock.advance(TTL - TICK)

        assert await texts(store) == ["a", "b"]
        clock.advance(TICK)
        assert await store.find_session(ALICE, "s") is None

    async def test_a_pinned_session_never_expires_and_its_time_starts_again_when_it_is_unpinned(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await store.create_session(ALICE, "s", MORTAL)
        pinned = await store.update_session(ALICE, "s", SessionPatch(state="pinned"))
        clock.advance(100 * TTL)

        unpinned = await store.update_session(ALICE, "s", SessionPatch(state="unpinned"))

        assert pinned.expires_at is None
        assert unpinned.expires_at == clock.now + TTL
        clock.advance(TTL)
        assert await store.find_session(ALICE, "s") is None

    async def test_an_append_to_a_pinned_session_gives_it_no_end(self, store: AnyStore, clock: FakeClock) -> None:
        await store.create_session(ALICE, "s", NewSession(state="pinned"))
        await say(store, "a", idle_ttl=TTL)
        clock.advance(2 * TTL)

        assert (await found(store)).expires_at is None
        assert await texts(store) == ["a"]

    async def test_the_idle_time_can_be_set_and_taken_away(self, store: AnyStore, clock: FakeClock) -> None:
        await store.create_session(ALICE, "s", NEW)

        mortal = await store.update_session(ALICE, "s", SessionPatch(set_idle_ttl=True, idle_ttl=TTL))
        titled = await store.update_session(ALICE, "s", SessionPatch(title="t"))
        immortal = await store.update_session(ALICE, "s", SessionPatch(set_idle_ttl=True, idle_ttl=None))

        assert mortal.expires_at == titled.expires_at == clock.now + TTL
        assert immortal.expires_at is None

    async def test_the_id_of_an_expired_session_is_free_and_its_next_incarnation_sees_nothing(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await furnish(store)
        old = await found(store)
        clock.advance(TTL)

        new = await store.create_session(ALICE, "s", NEW)

        assert new.incarnation != old.incarnation
        await assert_nothing_of_old(store)

    async def test_ensure_and_append_make_a_new_incarnation_of_an_expired_session(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await furnish(store)
        clock.advance(TTL)

        ensured, was_created = await store.ensure_session(ALICE, "s", MORTAL)
        clock.advance(TTL)
        appended = await say(store, "new", key="k", create=MORTAL)

        assert was_created
        assert (appended.first_seq, appended.repeated) == (1, False)
        assert appended.session.incarnation != ensured.incarnation
        assert await texts(store) == ["new"]

    async def test_a_taken_id_stays_taken_though_the_clock_steps_back(self, store: AnyStore, clock: FakeClock) -> None:
        await furnish(store)
        clock.advance(TTL)
        new = await store.create_session(ALICE, "s", NEW)

        clock.advance(-2 * TTL)

        assert await store.find_session(ALICE, "s") == new
        await assert_nothing_of_old(store)

    async def test_the_run_of_an_expired_session_frees_its_id(self, store: AnyStore, clock: FakeClock) -> None:
        await furnish(store)
        clock.advance(TTL)
        await store.create_session(ALICE, "other", NEW)

        claimed = await store.claim_run(ALICE, "other", new_run(request="new"), lease=LEASE)

        assert (claimed.attached, claimed.run.session_id) == (False, "other")
        assert await store.find_run(ALICE, "r") == claimed.run


class TrashTests(Suite):
    """The trash."""

    async def test_a_trashed_session_keeps_everything_and_comes_back_as_it_was(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await say(store, "a", "b")
        await store.put_state(ALICE, "s", "k", b"v", expected_version=0)
        before = await store.update_session(ALICE, "s", SessionPatch(state="archived", title="t"))
        until = clock.now + TTL

        trashed = await store.trash_session(ALICE, "s", until=until)
        restored = await store.restore_session(ALICE, "s")

        assert (trashed.state, trashed.trashed_from, trashed.trash_until) == ("trashed", "archived", until)
        assert trashed.revision == before.revision + 1
        assert restored == before._replace(revision=before.revision + 2)
        assert await texts(store) == ["a", "b"]
        assert await store.get_state(ALICE, "s", "k") is not None

    async def test_a_trashed_session_is_found_only_where_a_call_says_so(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await furnish(store)
        trashed = await store.trash_session(ALICE, "s", until=clock.now + TTL)

        assert await store.find_session(ALICE, "s") is None
        assert await store.find_session(ALICE, "s", include_trashed=True) == trashed
        assert await listed(store) == []
        assert await listed(store, SessionFilter(include_archived=True)) == []
        assert await listed(store, SessionFilter(state="trashed")) == ["s"]
        assert await store.find_run(ALICE, "r") is None
        for call in (
            lambda: store.read(ALICE, "s", limit=1),
            lambda: store.get_state(ALICE, "s", "state"),
            lambda: store.read_events(ALICE, "r"),
            lambda: store.cancel_run(ALICE, "r"),
            lambda: store.take_run(ALICE, "r", lease=LEASE),
            lambda: store.finish_run(ALICE, "r", "complete", token=1),
            lambda: store.drop_events(ALICE, "r"),
        ):
            with pytest.raises(NotFound):
                await call()
        assert not (await store.append_events(ALICE, "r", events(4, 4), token=1, lease=LEASE)).lease_ok

    async def test_writing_to_a_trashed_session_is_closed_and_changes_nothing(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await furnish(store)
        trashed = await store.trash_session(ALICE, "s", until=clock.now + TTL)

        for call in (
            lambda: store.create_session(ALICE, "s", NEW),
            lambda: store.ensure_session(ALICE, "s", NEW),
            lambda: say(store, "x"),
            lambda: say(store, "x", create=None),
            lambda: say(store, "old", "old too", key="k"),
            lambda: store.update_session(ALICE, "s", SessionPatch(title="x")),
            lambda: store.update_session(ALICE, "s", SessionPatch(title="x"), expected_revision=99),
            lambda: store.select_head(ALICE, "s", 1),
            lambda: store.prune(ALICE, "s", before_seq=2),
            lambda: store.annotate(ALICE, "s", 1, None),
            lambda: store.redact(ALICE, "s", 1),
            lambda: store.put_state(ALICE, "s", "state", b"", expected_version=1),
            lambda: store.claim_run(ALICE, "s", new_run("r2"), lease=LEASE, queue=True),
            lambda: store.claim_run(ALICE, "s", new_run(), lease=LEASE),
        ):
            with pytest.raises(Closed) as error:
                await call()
            assert error.value.session_id == "s"

        assert await store.find_session(ALICE, "s", include_trashed=True) == trashed
        await store.restore_session(ALICE, "s")
        assert await texts(store) == ["old", "old too"]
        assert len(await store.read_events(ALICE, "r")) == 3

    async def test_trashing_and_restoring_twice_is_harmless(self, store: AnyStore, clock: FakeClock) -> None:
        await store.create_session(ALICE, "s", NEW)

        first = await store.trash_session(ALICE, "s", until=clock.now + TTL)
        second = await store.trash_session(ALICE, "s", until=clock.now + 2 * TTL)
        back = await store.restore_session(ALICE, "s")
        again = await store.restore_session(ALICE, "s")

        assert second == first
        assert again == back
        assert await listed(store) == ["s"]

    async def test_the_trash_time_ends_at_the_exact_moment(self, store: AnyStore, clock: FakeClock) -> None:
        await furnish(store)
        await store.trash_session(ALICE, "s", until=clock.now + TTL)
        clock.advance(TTL - TICK)
        restorable = await found(store)
        clock.advance(TICK)

        assert restorable.state == "trashed"
        await assert_not_found(store)
        await store.create_session(ALICE, "s", NEW)
        await assert_nothing_of_old(store)

    async def test_the_trash_stops_the_idle_time_and_restoring_starts_it_again(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await store.create_session(ALICE, "s", MORTAL)
        await store.trash_session(ALICE, "s", until=clock.now + 10 * TTL)
        clock.advance(5 * TTL)

        restored = await store.restore_session(ALICE, "s")

        assert restored.expires_at == clock.now + TTL

    async def test_a_pinned_session_returns_to_its_place(self, store: AnyStore, clock: FakeClock) -> None:
        await store.create_session(ALICE, "s", NewSession(state="pinned"))
        clock.advance(TICK)
        await store.create_session(ALICE, "t", NEW)

        await store.trash_session(ALICE, "s", until=clock.now + TTL)
        without = await listed(store)
        await store.restore_session(ALICE, "s")

        assert without == ["t"]
        assert await listed(store) == ["s", "t"]

    async def test_a_missing_session_has_no_trash(self, store: AnyStore, clock: FakeClock) -> None:
        with pytest.raises(NotFound):
            await store.trash_session(ALICE, "s", until=clock.now + TTL)
        with pytest.raises(NotFound):
            await store.restore_session(ALICE, "s")
