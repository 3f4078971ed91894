"""What is removed from a log that lives on, what is changed in it, and rows that are damaged."""

from __future__ import annotations

import pytest

from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import Feedback, Message, Unreadable, assistant, user
from chatkeep.testing.calls import ALICE, NEW, READ_LIMIT, digest, found, read_all, say, seqs, texts
from chatkeep.testing.clock import FakeClock
from chatkeep.testing.harness import AnyStore, StoreHarness
from chatkeep.testing.suite import Suite


class PruneTests(Suite):
    """Messages below a border."""

    async def test_everything_below_is_gone_for_every_read(self, store: AnyStore) -> None:
        await say(store, *"abcdef")

        pruned = await store.prune(ALICE, "s", before_seq=4)

        assert pruned == await found(store)
        assert (pruned.first_seq, pruned.last_seq, pruned.head_seq, pruned.message_count) == (4, 6, 6, 3)
        for path in ("active", "all"):
            assert await seqs(store, path=path) == [4, 5, 6]
            assert await seqs(store, path=path, newest_first=True) == [6, 5, 4]
            assert await seqs(store, path=path, before_seq=4) == []

    async def test_the_border_never_goes_back_nor_beyond_the_end(self, store: AnyStore) -> None:
        await say(store, *"abcd")

        third = await store.prune(ALICE, "s", before_seq=3)
        for border in (3, 2, 0, -5):
            assert await store.prune(ALICE, "s", before_seq=border) == third
        cleared = await store.prune(ALICE, "s", before_seq=1_000)

        assert (cleared.first_seq, cleared.last_seq, cleared.head_seq) == (5, 4, 0)

    async def test_a_cleared_session_goes_on_with_its_seqs(self, store: AnyStore) -> None:
        await say(store, "a", "b")
        cleared = await store.prune(ALICE, "s", before_seq=3)
        empty = await texts(store)

        appended = await say(store, "c", "d", expected_last_seq=2)

        assert (cleared.message_count, empty) == (0, [])
        assert (appended.first_seq, appended.last_seq) == (3, 4)
        assert await texts(store) == ["c", "d"]
        assert [message.parent_seq for message in await read_all(store)] == [0, 3]

    async def test_pruned_messages_cannot_be_changed(self, store: AnyStore) -> None:
        await say(store, "a", "b")
        await store.prune(ALICE, "s", before_seq=2)

        with pytest.raises(NotFound):
            await store.annotate(ALICE, "s", 1, Feedback("up"))
        with pytest.raises(NotFound):
            await store.redact(ALICE, "s", 1)

    async def test_the_content_leaves_the_rows(self, store: AnyStore, harness: StoreHarness, clock: FakeClock) -> None:
        await say(store, "first secret")
        await say(store, "second secret")

        await store.prune(ALICE, "s", before_seq=2)
        while await store.sweep(events_before=clock.now):
            pass

        rows = await harness.rows()
        assert not [row for row in rows if b"first secret" in row]
        assert [row for row in rows if b"second secret" in row]

    async def test_a_head_that_is_pruned_leaves_an_empty_path(self, store: AnyStore) -> None:
        await say(store, *"abcd")
        await store.select_head(ALICE, "s", 2)

        pruned = await store.prune(ALICE, "s", before_seq=3)

        assert pruned.head_seq == 0
        assert await seqs(store) == []
        assert await seqs(store, path="all") == [3, 4]

    async def test_many_rows_go_at_once(self, store: AnyStore) -> None:
        for _ in range(5):
            await say(store, *map(str, range(100)))

        await store.prune(ALICE, "s", before_seq=451)

        assert await seqs(store, path="all") == list(range(451, 501))

    async def test_a_missing_session_cannot_be_pruned(self, store: AnyStore) -> None:
        with pytest.raises(NotFound):
            await store.prune(ALICE, "s", before_seq=1)


class ChangeTests(Suite):
    """Feedback and redaction, the only changes of a stored message."""

    async def test_feedback_is_set_replaced_and_removed_on_any_branch(self, store: AnyStore) -> None:
        await say(store, "a", "b")
        await say(store, "c", parent_seq=1)

        await store.annotate(ALICE, "s", 2, Feedback("up", "good"))
        replaced = await store.annotate(ALICE, "s", 2, Feedback("down"))
        shown = await read_all(store, path="all")
        await store.annotate(ALICE, "s", 2, None)

        assert replaced.feedback == Feedback("down")
        assert [message.feedback for message in shown] == [None, Feedback("down"), None]
        assert [message.feedback for message in await read_all(store, path="all")] == [None, None, None]

    async def test_a_redaction_removes_content_and_feedback_and_keeps_the_place(
        self, store: AnyStore, harness: StoreHarness, clock: FakeClock
    ) -> None:
        messages = [user("a"), assistant("secret words", model="secret model", status="failed", created_at=clock.now)]
        await store.append(ALICE, "s", messages, idempotency_key="k", digest=digest("k"), create=NEW)
        await say(store, "c")
        await store.annotate(ALICE, "s", 2, Feedback("down", "secret comment"))
        before = (await read_all(store))[1]

        redacted = await store.redact(ALICE, "s", 2)

        after = (await read_all(store))[1]
        assert after == redacted
        assert after.redacted
        assert (after.parts, after.content.model, after.feedback, after.text) == ((), None, None, "")
        assert after[:6] == before[:6]
        assert await texts(store) == ["a", "", "c"]
        assert not [row for row in await harness.rows() if b"secret" in row]

    async def test_redacting_again_changes_nothing_more(self, store: AnyStore) -> None:
        await say(store, "a", "b")

        first = await store.redact(ALICE, "s", 1)
        second = await store.redact(ALICE, "s", 1)

        assert first == second
        assert [message.redacted for message in await read_all(store)] == [True, False]

    async def test_a_key_is_known_after_its_message_was_redacted(self, store: AnyStore) -> None:
        await say(store, "a", key="k")
        await store.redact(ALICE, "s", 1)

        repeat = await say(store, "a", key="k")

        assert (repeat.first_seq, repeat.repeated) == (1, True)
        assert await texts(store) == [""]

    @pytest.mark.parametrize("seq", [0, 3, -1, 2**40])
    async def test_a_message_that_never_was_is_not_found(self, store: AnyStore, seq: int) -> None:
        await say(store, "a", "b")

        with pytest.raises(NotFound):
            await store.annotate(ALICE, "s", seq, Feedback("up"))
        with pytest.raises(NotFound):
            await store.redact(ALICE, "s", seq)


class CorruptionTests(Suite):
    """A row that cannot be decoded."""

    async def test_it_stands_in_its_place_and_hides_no_neighbour(self, store: AnyStore, harness: StoreHarness) -> None:
        await say(store, "a", "b", "c")
        await harness.corrupt(ALICE, "s", 2)

        ascending = await store.read(ALICE, "s", limit=READ_LIMIT)
        newest = await store.read(ALICE, "s", limit=2, newest_first=True)

        assert [entry.seq for entry in ascending] == [1, 2, 3]
        first, second, third = ascending
        assert isinstance(first, Message)
        assert isinstance(second, Unreadable)
        assert isinstance(third, Message)
        assert second.reason
        assert (first.text, third.text) == ("a", "c")
        assert newest == [third, second]

    async def test_the_session_lives_on(self, store: AnyStore, harness: StoreHarness) -> None:
        await say(store, "a", "b", key="k")
        await harness.corrupt(ALICE, "s", 2)

        repeat = await say(store, "a", "b", key="k")
        appended = await say(store, "c")

        assert repeat.repeated
        assert (appended.first_seq, appended.session.message_count) == (3, 3)
        assert (await store.select_head(ALICE, "s", 2)).head_seq == 2

    async def test_it_cannot_be_annotated(self, store: AnyStore, harness: StoreHarness) -> None:
        await say(store, "a")
        await harness.corrupt(ALICE, "s", 1)

        with pytest.raises(NotFound):
            await store.annotate(ALICE, "s", 1, Feedback("up"))

        [entry] = await store.read(ALICE, "s", limit=1)
        assert isinstance(entry, Unreadable)

    async def test_it_can_be_redacted_and_is_readable_then(self, store: AnyStore, harness: StoreHarness) -> None:
        await say(store, "a", "b")
        await harness.corrupt(ALICE, "s", 1)

        redacted = await store.redact(ALICE, "s", 1)

        assert (redacted.seq, redacted.role, redacted.redacted, redacted.parts) == (1, "user", True, ())
        assert (await read_all(store))[0] == redacted

    async def test_it_can_be_pruned_and_purged(self, store: AnyStore, harness: StoreHarness) -> None:
        await say(store, "a", "b", "c")
        await harness.corrupt(ALICE, "s", 1)
        await harness.corrupt(ALICE, "s", 3)

        await store.prune(ALICE, "s", before_seq=2)
        left = await seqs(store)
        receipt = await store.purge_session(ALICE, "s")

        assert left == [2, 3]
        assert receipt.removed["sessions"] == 1
