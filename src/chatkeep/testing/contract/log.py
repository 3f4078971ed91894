"""Appending and reading."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatkeep.domain.errors import IdReused, Invalid, NotFound, SeqConflict
from chatkeep.domain.messages import user
from chatkeep.domain.sessions import LISTED, NewSession
from chatkeep.ports.store import REMEMBERED_KEYS
from chatkeep.testing.calls import ALICE, NEW, digest, found, listed, read_all, say, seqs, texts
from chatkeep.testing.clock import START, FakeClock
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.suite import Suite

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


class AppendTests(Suite):
    """Appending."""

    async def test_seqs_count_from_one_over_batches(self, store: AnyStore) -> None:
        one = await say(store, "a", "b", "c")
        two = await say(store, "d")

        assert (one.first_seq, one.last_seq, one.repeated) == (1, 3, False)
        assert (two.first_seq, two.last_seq, two.repeated) == (4, 4, False)
        assert await seqs(store) == [1, 2, 3, 4]
        assert await texts(store) == ["a", "b", "c", "d"]
        assert [message.parent_seq for message in await read_all(store)] == [0, 1, 2, 3]

    async def test_the_messages_are_returned_as_a_reader_sees_them(self, store: AnyStore) -> None:
        one = await say(store, "a", "b")
        await store.select_head(ALICE, "s", 1)
        two = await say(store, "c", "d", key="k")
        repeat = await say(store, "c", "d", key="k")

        seen = await read_all(store, path="all")
        assert [*one.messages, *two.messages] == seen
        assert [message.parent_seq for message in two.messages] == [1, 3]
        assert repeat.messages == ()

    async def test_the_session_after_it_is_returned(self, store: AnyStore, clock: FakeClock) -> None:
        await store.create_session(ALICE, "s", NEW)
        clock.advance(MINUTE)

        appended = await say(store, "a", "b")

        assert appended.session == await found(store)
        assert (appended.session.last_seq, appended.session.head_seq, appended.session.message_count) == (2, 2, 2)
        assert (appended.session.created_at, appended.session.modified_at) == (START, START + MINUTE)

    async def test_without_create_a_missing_session_is_not_found(self, store: AnyStore) -> None:
        with pytest.raises(NotFound):
            await say(store, "a", create=None)

        assert await store.find_session(ALICE, "s") is None

    async def test_create_makes_a_missing_session_and_leaves_one_that_is_there(self, store: AnyStore) -> None:
        first = await say(store, "a", create=NewSession(title="first", metadata={"n": 1}))
        second = await say(store, "b", create=NewSession(title="second", metadata={"n": 2}))

        assert (first.session.title, first.session.metadata, first.session.hidden) == ("first", {"n": 1}, LISTED)
        assert second.session == first.session._replace(last_seq=2, head_seq=2)

    async def test_a_title_is_taken_while_there_is_none(self, store: AnyStore) -> None:
        first = await say(store, "a", title="from the first")
        second = await say(store, "b", title="from the second")

        assert (first.session.title, first.session.title_source) == ("from the first", "auto")
        assert second.session.title == "from the first"
        assert first.session.revision == 1

    async def test_the_idle_time_becomes_the_sessions(self, store: AnyStore, clock: FakeClock) -> None:
        with_end = await say(store, "a", idle_ttl=MINUTE)
        without = await say(store, "b")

        assert with_end.session.expires_at == clock.now + MINUTE
        assert without.session.expires_at is None

    async def test_a_stale_last_seq_is_refused_whole(self, store: AnyStore) -> None:
        await say(store, "a", "b")
        before = await found(store)

        for stale in (0, 1, 3):
            with pytest.raises(SeqConflict) as error:
                await say(store, "c", "d", key="k", expected_last_seq=stale)
            assert error.value.last_seq == 2

        assert await found(store) == before
        assert await texts(store) == ["a", "b"]
        assert (await say(store, "c", key="k", expected_last_seq=2)).first_seq == 3

    async def test_a_refused_append_creates_no_session(self, store: AnyStore) -> None:
        with pytest.raises(SeqConflict):
            await say(store, "a", expected_last_seq=1)
        with pytest.raises(SeqConflict):
            await say(store, "a", parent_seq=1)

        assert await store.find_session(ALICE, "s") is None
        assert await listed(store) == []
        assert (await say(store, "a", expected_last_seq=0, parent_seq=0)).first_seq == 1

    async def test_a_batch_with_one_bad_message_stores_nothing_and_forgets_its_key(self, store: AnyStore) -> None:
        await say(store, "a")
        before = await found(store)

        with pytest.raises(Invalid):
            await say(store, "b", "\ud800", "c", key="k")

        assert await found(store) == before
        assert await texts(store) == ["a"]
        assert not (await say(store, "d", key="k")).repeated

    async def test_a_time_from_before_1970_or_the_future_is_no_activity(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        old = await say(store, "a", session="old", create=NewSession(created_at=START - 40_000 * DAY))
        early = await say(store, "b", session="early", active_at=START + DAY)
        created = await store.create_session(ALICE, "new", NewSession(created_at=clock.now + DAY))

        assert (old.session.created_at_ms, old.session.modified_at) == (0, START)
        assert early.session.modified_at == START
        assert (created.created_at, created.modified_at) == (START, START)

    async def test_an_append_can_be_bound_to_an_incarnation(self, store: AnyStore) -> None:
        old = (await say(store, "a")).session.incarnation
        bound = await say(store, "b", incarnation=old)
        await store.purge_session(ALICE, "s")

        with pytest.raises(NotFound):
            await say(store, "c", incarnation=old)
        missing = await store.find_session(ALICE, "s")
        await say(store, "d")
        with pytest.raises(NotFound):
            await say(store, "c", incarnation=old, create=None)

        assert bound.first_seq == 2
        assert missing is None
        assert await texts(store) == ["d"]

    async def test_an_empty_batch_is_invalid(self, store: AnyStore) -> None:
        with pytest.raises(Invalid):
            await say(store)

        assert await store.find_session(ALICE, "s") is None


class IdempotencyTests(Suite):
    """Repeats of appends."""

    async def test_a_repeat_returns_the_first_seqs_and_the_session_of_now(self, store: AnyStore) -> None:
        await say(store, "before")
        first = await say(store, "a", "b", key="k")
        last = await say(store, "after")

        repeat = await say(store, "a", "b", key="k")

        assert (first.first_seq, first.last_seq, first.repeated) == (2, 3, False)
        assert (repeat.first_seq, repeat.last_seq, repeat.repeated) == (2, 3, True)
        assert repeat.session == last.session
        assert await texts(store) == ["before", "a", "b", "after"]

    async def test_a_repeat_changes_nothing(self, store: AnyStore, clock: FakeClock) -> None:
        first = await say(store, "a", key="k", title="t", idle_ttl=MINUTE)
        clock.advance(timedelta(seconds=30))

        await say(store, "a", key="k", title="other", idle_ttl=2 * MINUTE, active_at=clock.now)

        assert await found(store) == first.session

    async def test_another_body_under_the_same_key_is_refused(self, store: AnyStore) -> None:
        first = await say(store, "a", key="k")

        with pytest.raises(IdReused) as error:
            await say(store, "b", key="k")

        assert (error.value.key, error.value.first_seq, error.value.last_seq) == ("k", 1, 1)
        assert await found(store) == first.session
        assert await texts(store) == ["a"]

    async def test_the_digest_decides_and_not_the_messages(self, store: AnyStore) -> None:
        body = [user("a")]
        await store.append(ALICE, "s", body, idempotency_key="k", digest=digest("x"), create=NEW)

        other = [user("b")]
        repeat = await store.append(ALICE, "s", other, idempotency_key="k", digest=digest("x"))
        with pytest.raises(IdReused):
            await store.append(ALICE, "s", body, idempotency_key="k", digest=digest("y"))

        assert repeat.repeated
        assert await texts(store) == ["a"]

    async def test_the_key_is_judged_before_expected_last_seq_and_parent(self, store: AnyStore) -> None:
        await say(store, "a", key="k", expected_last_seq=0, parent_seq=0)
        await say(store, "b")

        assert (await say(store, "a", key="k", expected_last_seq=0, parent_seq=0)).repeated
        assert (await say(store, "a", key="k", parent_seq=77)).repeated
        with pytest.raises(IdReused):
            await say(store, "c", key="k", expected_last_seq=0)

    @pytest.mark.parametrize("key", [" ", "\0", "k" * 256, "😀" * 64, "e\u0301", "'\"#/:%\\", "k\n", "K"])
    async def test_a_key_is_any_text_compared_byte_for_byte(self, store: AnyStore, key: str) -> None:
        for other in ("k", "k" * 255, "\u00e9"):
            await say(store, other, key=other)

        first = await say(store, "mine", key=key)
        repeat = await say(store, "mine", key=key)

        assert (first.first_seq, first.repeated) == (4, False)
        assert (repeat.first_seq, repeat.repeated) == (4, True)

    async def test_keys_belong_to_one_session(self, store: AnyStore) -> None:
        await say(store, "a", session="one", key="k")

        other = await say(store, "b", session="two", key="k")

        assert not other.repeated

    async def test_the_latest_keys_are_remembered_whatever_is_pruned_redacted_or_cleared(self, store: AnyStore) -> None:
        for n in range(REMEMBERED_KEYS):
            await say(store, f"text {n}", key=f"key {n}")
        await store.redact(ALICE, "s", REMEMBERED_KEYS)
        await store.prune(ALICE, "s", before_seq=100)
        await store.prune(ALICE, "s", before_seq=REMEMBERED_KEYS + 1)
        await store.sweep(events_before=START)

        repeats = [await say(store, f"text {n}", key=f"key {n}") for n in range(REMEMBERED_KEYS)]

        assert all(repeat.repeated for repeat in repeats)
        assert [repeat.first_seq for repeat in repeats] == list(range(1, REMEMBERED_KEYS + 1))
        assert await seqs(store, path="all") == []
        with pytest.raises(IdReused):
            await say(store, "other", key="key 0")


class ReadTests(Suite):
    """Reading: order, bounds and limits."""

    @pytest.mark.parametrize("limit", [1, 2, 6, 7, 8, 1_000])
    async def test_the_limit_counts_from_the_end_that_is_asked_for(self, store: AnyStore, limit: int) -> None:
        await say(store, *"abcdefg")

        assert await seqs(store, limit=limit) == [1, 2, 3, 4, 5, 6, 7][:limit]
        assert await seqs(store, limit=limit, newest_first=True) == [7, 6, 5, 4, 3, 2, 1][:limit]

    async def test_bounds_are_exclusive(self, store: AnyStore) -> None:
        await say(store, *"abcdefg")
        bounds = [None, 0, 1, 2, 4, 7, 8, 9, 2**40]

        for after in (0, 1, 3, 6, 7, 8, 2**40):
            for before in bounds:
                for newest_first in (False, True):
                    got = await seqs(store, after_seq=after, before_seq=before, newest_first=newest_first)
                    wanted = [seq for seq in range(1, 8) if after < seq and (before is None or seq < before)]
                    assert got == (wanted[::-1] if newest_first else wanted), (after, before, newest_first)

    async def test_pages_in_both_directions_meet_every_message_once(self, store: AnyStore) -> None:
        await say(store, *map(str, range(100)))
        await say(store, *map(str, range(100, 105)))

        forward: list[int] = []
        while page := await seqs(store, after_seq=forward[-1] if forward else 0, limit=10):
            forward += page
        backward: list[int] = []
        while page := await seqs(store, before_seq=backward[-1] if backward else None, limit=10, newest_first=True):
            backward += page

        assert forward == list(range(1, 106))
        assert backward == forward[::-1]

    @pytest.mark.parametrize("limit", [0, -1, 1_001])
    async def test_a_read_limit_out_of_range_is_invalid(self, store: AnyStore, limit: int) -> None:
        await say(store, "a")

        with pytest.raises(Invalid):
            await store.read(ALICE, "s", limit=limit)

    async def test_a_missing_session_is_not_found(self, store: AnyStore) -> None:
        with pytest.raises(NotFound):
            await store.read(ALICE, "s", limit=1)

    async def test_a_thousand_messages_come_in_one_read(self, store: AnyStore) -> None:
        for first in range(0, 1_100, 100):
            await say(store, *map(str, range(first, first + 100)))

        assert await seqs(store) == list(range(1, 1_001))
        assert await seqs(store, newest_first=True) == list(range(1_100, 100, -1))
        assert await texts(store, after_seq=995, before_seq=1_006) == [str(n) for n in range(995, 1_005)]
        assert (await found(store)).message_count == 1_100
