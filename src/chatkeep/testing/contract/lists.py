"""Lists of sessions, and the version that tells when to read them again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from chatkeep.domain.errors import Invalid
from chatkeep.domain.limits import MAX_EXAMINED
from chatkeep.domain.messages import Feedback
from chatkeep.domain.pages import SessionFilter, SessionPosition
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.testing.calls import (
    ALICE,
    EVERYTHING,
    LEASE,
    NEW,
    claim,
    eventually,
    listed,
    new_run,
    pages,
    say,
    soon_listed,
)
from chatkeep.testing.clock import FakeClock
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.suite import Suite

SECOND = timedelta(seconds=1)


async def create(store: AnyStore, clock: FakeClock, *ids: str, new: NewSession = NEW) -> None:
    """Create sessions a second apart."""
    for session_id in ids:
        clock.advance(SECOND)
        await store.create_session(ALICE, session_id, new)


class ListTests(Suite):
    """What a list shows, in which order, on which page."""

    async def test_an_empty_scope_has_an_empty_list(self, store: AnyStore) -> None:
        page = await store.list_sessions(ALICE, EVERYTHING, limit=50)

        assert (page.items, page.next) == ((), None)

    async def test_the_newest_stands_first_and_a_created_one_at_once(self, store: AnyStore, clock: FakeClock) -> None:
        await create(store, clock, "a", "c", "b")

        assert await listed(store) == ["b", "c", "a"]

    async def test_a_listed_session_is_the_whole_record(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NewSession(title="t", metadata={"k": [1.0]}))
        await say(store, "one", title="ignored")

        current = await store.find_session(ALICE, "s")
        page = await eventually(
            lambda: store.list_sessions(ALICE, EVERYTHING, limit=1), lambda seen: seen.items == (current,)
        )

        assert page.items == (current,)

    async def test_pinned_ones_stand_first_and_changes_of_state_show_at_once(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await create(store, clock, "a", "b", "c", "d")

        await store.update_session(ALICE, "a", SessionPatch(state="pinned"))
        await store.update_session(ALICE, "c", SessionPatch(state="pinned"))
        await store.update_session(ALICE, "b", SessionPatch(state="unpinned"))
        pinned = await listed(store)
        await store.update_session(ALICE, "c", SessionPatch(state="unpinned"))

        assert pinned == ["c", "a", "d", "b"]
        assert await listed(store) == ["a", "d", "c", "b"]

    async def test_activity_moves_a_session_up_within_the_lag(self, store: AnyStore, clock: FakeClock) -> None:
        await create(store, clock, "a", "b", "c")
        clock.advance(SECOND)

        await say(store, "hello", session="a")

        assert await soon_listed(store, ["a", "c", "b"]) == ["a", "c", "b"]

    async def test_a_clock_that_steps_back_moves_nothing_down(self, store: AnyStore, clock: FakeClock) -> None:
        await create(store, clock, "a", "b")
        before = await store.find_session(ALICE, "b")
        clock.advance(-timedelta(hours=1))

        appended = await say(store, "hello", session="b")

        assert before is not None
        assert appended.session.modified_at_ms == before.modified_at_ms
        assert await soon_listed(store, ["b", "a"]) == ["b", "a"]

    async def test_activity_may_be_dated_by_the_caller(self, store: AnyStore, clock: FakeClock) -> None:
        now = clock.now
        await store.create_session(ALICE, "old", NewSession(created_at=now - timedelta(days=30)))
        await store.create_session(ALICE, "new", NewSession(created_at=now - timedelta(days=20)))

        appended = await say(store, "then", session="old", active_at=now - timedelta(days=10))

        assert appended.session.modified_at == now - timedelta(days=10)
        assert await soon_listed(store, ["old", "new"]) == ["old", "new"]

    async def test_equal_times_are_ordered_by_the_bytes_of_the_id_descending(self, store: AnyStore) -> None:
        ids = ["a", "B", "\u00e9", "e\u0301", "\U0001f600", "\uff5e", "aa", "Z", "0", " ", "\U0010ffff", "\ufffd"]
        for session_id in ids:
            await store.create_session(ALICE, session_id, NEW)

        assert await listed(store) == sorted(ids, key=str.encode, reverse=True)
        assert await listed(store, limit=1) == sorted(ids, key=str.encode, reverse=True)

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 200])
    async def test_pages_of_any_size_show_everything_once_in_order(
        self, store: AnyStore, clock: FakeClock, limit: int
    ) -> None:
        await create(store, clock, "a", "b", "c", "d", "e", "f", "g")
        await store.update_session(ALICE, "c", SessionPatch(state="pinned"))

        sizes = [len(page) async for page in pages(store, limit=limit)]

        assert await listed(store, limit=limit) == ["c", "g", "f", "e", "d", "b", "a"]
        assert [size for size in sizes if size][:-1] == [limit] * ((7 - 1) // limit)

    @pytest.mark.parametrize("limit", [0, -1, 201])
    async def test_a_list_limit_out_of_range_is_invalid(self, store: AnyStore, limit: int) -> None:
        with pytest.raises(Invalid):
            await store.list_sessions(ALICE, EVERYTHING, limit=limit)

    async def test_a_cursor_survives_inserts_deletes_and_touches(self, store: AnyStore, clock: FakeClock) -> None:
        await create(store, clock, "a", "b", "c", "d", "e", "f")
        first = await store.list_sessions(ALICE, EVERYTHING, limit=2)

        clock.advance(SECOND)
        await store.purge_session(ALICE, "e")
        await store.purge_session(ALICE, "d")
        await store.create_session(ALICE, "g", NEW)
        await say(store, "hello", session="b")
        assert await soon_listed(store, ["g", "b", "f", "c", "a"]) == ["g", "b", "f", "c", "a"]
        rest = await store.list_sessions(ALICE, EVERYTHING, limit=200, after=first.next)

        assert [session.id for session in first.items] == ["f", "e"]
        assert [session.id for session in rest.items] == ["c", "a"]

    async def test_a_position_need_not_be_that_of_a_session(self, store: AnyStore, clock: FakeClock) -> None:
        await create(store, clock, "a", "b")
        stored = await store.find_session(ALICE, "b")
        assert stored is not None

        after = SessionPosition(pinned=False, modified_at_ms=stored.modified_at_ms, id="az")
        all_of_it = SessionPosition(pinned=True, modified_at_ms=0, id="a")

        assert [s.id for s in (await store.list_sessions(ALICE, EVERYTHING, limit=9, after=after)).items] == ["a"]
        assert [s.id for s in (await store.list_sessions(ALICE, EVERYTHING, limit=9, after=all_of_it)).items] == [
            "b",
            "a",
        ]

    async def test_filters_by_state(self, store: AnyStore, clock: FakeClock) -> None:
        await create(store, clock, "active", "pinned", "unpinned", "archived", "trashed")
        for state in ("pinned", "unpinned", "archived"):
            await store.update_session(ALICE, state, SessionPatch(state=state))
        await store.trash_session(ALICE, "trashed", until=clock.now + SECOND)

        assert await listed(store) == ["pinned", "unpinned", "active"]
        assert await listed(store, SessionFilter(include_archived=True)) == ["pinned", "archived", "unpinned", "active"]
        assert await listed(store, SessionFilter(state="active")) == ["active"]
        assert await listed(store, SessionFilter(state="pinned")) == ["pinned"]
        assert await listed(store, SessionFilter(state="unpinned")) == ["unpinned"]
        assert await listed(store, SessionFilter(state="archived")) == ["archived"]
        assert await listed(store, SessionFilter(state="trashed")) == ["trashed"]

    async def test_filters_by_metadata_are_exact_in_type(self, store: AnyStore) -> None:
        values = {"int": 1, "float": 1.0, "true": True, "text": "1", "null": None, "list": [1], "floats": [1.0]}
        for name, value in values.items():
            await store.create_session(ALICE, name, NewSession(metadata={"k": value, "name": name}))
        await store.create_session(ALICE, "without", NEW)

        for name, value in values.items():
            assert await listed(store, SessionFilter(metadata=(("k", value),))) == [name]
        assert await listed(store, SessionFilter(metadata=(("k", 2),))) == []
        assert await listed(store, SessionFilter(metadata=(("name", "int"), ("k", 1)))) == ["int"]
        assert await listed(store, SessionFilter(metadata=(("name", "int"), ("k", 1.0)))) == []

    async def test_metadata_compares_objects_whatever_their_order_and_keys_whatever_their_characters(
        self, store: AnyStore
    ) -> None:
        await store.create_session(ALICE, "s", NewSession(metadata={"a.b'\"[0]": {"x": 1, "y": ["ä"]}, "n": {"k": 1}}))

        assert await listed(store, SessionFilter(metadata=(("a.b'\"[0]", {"y": ["ä"], "x": 1}),))) == ["s"]
        assert await listed(store, SessionFilter(metadata=(("n.k", 1),))) == []

    async def test_a_page_examines_at_most_a_thousand_records(self, store: AnyStore, clock: FakeClock) -> None:
        await store.create_session(ALICE, "needle", NewSession(metadata={"k": 1}))
        clock.advance(SECOND)
        for first in range(0, MAX_EXAMINED, 50):
            creations = (store.create_session(ALICE, f"hay {first + n}", NEW) for n in range(50))
            await asyncio.gather(*creations)

        wanted = SessionFilter(metadata=(("k", 1),))
        first_page = await store.list_sessions(ALICE, wanted, limit=10)

        assert first_page.items == ()
        assert first_page.next is not None
        assert await listed(store, wanted) == ["needle"]

    async def test_a_session_that_an_append_created_is_listed_within_the_lag(self, store: AnyStore) -> None:
        await say(store, "hello")

        assert await soon_listed(store, ["s"]) == ["s"]


class VersionTests(Suite):
    """The version of a scope."""

    async def _differs(self, store: AnyStore, before: str) -> str:
        seen = await eventually(lambda: store.scope_version(ALICE), lambda version: version != before)
        assert seen != before
        return seen

    async def test_it_differs_after_every_visible_change(self, store: AnyStore, clock: FakeClock) -> None:
        version = await store.scope_version(ALICE)
        until = clock.now + timedelta(days=7)

        await store.create_session(ALICE, "s", NEW)
        version = await self._differs(store, version)
        await store.ensure_session(ALICE, "t", NEW)
        version = await self._differs(store, version)
        await say(store, "one", "two")
        version = await self._differs(store, version)
        await store.update_session(ALICE, "s", SessionPatch(title="t"))
        version = await self._differs(store, version)
        await store.annotate(ALICE, "s", 1, Feedback("up"))
        version = await self._differs(store, version)
        await store.select_head(ALICE, "s", 1)
        version = await self._differs(store, version)
        await store.redact(ALICE, "s", 2)
        version = await self._differs(store, version)
        await store.prune(ALICE, "s", before_seq=2)
        version = await self._differs(store, version)
        await claim(store)
        version = await self._differs(store, version)
        await store.finish_run(ALICE, "r", "complete", token=1)
        version = await self._differs(store, version)
        await store.trash_session(ALICE, "s", until=until)
        version = await self._differs(store, version)
        await store.restore_session(ALICE, "s")
        version = await self._differs(store, version)
        await store.purge_session(ALICE, "s")
        version = await self._differs(store, version)
        await store.erase_scope(ALICE)
        await self._differs(store, version)

    async def test_it_differs_when_a_waiting_run_comes_or_goes(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        await claim(store, "r1")
        version = await store.scope_version(ALICE)

        await store.claim_run(ALICE, "s", new_run("r2"), lease=LEASE, queue=True)
        version = await self._differs(store, version)
        await store.cancel_run(ALICE, "r2")

        await self._differs(store, version)

    async def test_it_stays_while_nothing_is_written(self, store: AnyStore) -> None:
        await say(store, "one")

        async def around_reads() -> tuple[str, str]:
            before = await store.scope_version(ALICE)
            await store.read(ALICE, "s", limit=10)
            await store.find_session(ALICE, "s")
            await listed(store)
            return before, await store.scope_version(ALICE)

        before, after = await eventually(around_reads, lambda seen: seen[0] == seen[1])

        assert before == after
