"""Branches and the active path."""

from __future__ import annotations

from typing import Any

import pytest

from chatkeep.domain.errors import NotFound, SeqConflict
from chatkeep.domain.paths import Families
from chatkeep.testing.calls import ALICE, found, read_all, say, seqs, texts
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.suite import Suite


async def _three_branches(store: AnyStore) -> None:
    """1-2-3-4, then 5-6 below 2, then 7 below 6, then 8 below 2, then 9 below nothing."""
    await say(store, "1", "2", "3", "4")
    await say(store, "5", "6", parent_seq=2)
    await say(store, "7")
    await say(store, "8", parent_seq=2)
    await say(store, "9", parent_seq=0)


class BranchTests(Suite):
    """Appends below any message, and the choice between branches."""

    async def test_an_append_continues_the_active_path(self, store: AnyStore) -> None:
        await say(store, "1", "2")
        await store.select_head(ALICE, "s", 1)

        appended = await say(store, "3")

        assert (appended.session.head_seq, appended.session.jumps) == (3, ((3, 1),))
        assert await seqs(store) == [1, 3]
        assert await seqs(store, path="all") == [1, 2, 3]

    async def test_each_head_has_its_own_path(self, store: AnyStore) -> None:
        await _three_branches(store)
        paths = {
            0: [],
            1: [1],
            2: [1, 2],
            4: [1, 2, 3, 4],
            5: [1, 2, 5],
            6: [1, 2, 5, 6],
            7: [1, 2, 5, 6, 7],
            8: [1, 2, 8],
            9: [9],
        }

        for head, path in paths.items():
            session = await store.select_head(ALICE, "s", head)
            assert (session.head_seq, session.last_seq, session.message_count) == (head, 9, len(path))
            assert session == await found(store)
            assert await seqs(store) == path
            assert await texts(store) == [str(seq) for seq in path]
            assert await seqs(store, path="all") == [1, 2, 3, 4, 5, 6, 7, 8, 9]

    async def test_parents_are_stored_with_the_messages(self, store: AnyStore) -> None:
        await _three_branches(store)

        parents = {message.seq: message.parent_seq for message in await read_all(store, path="all")}

        session = await found(store)
        assert parents == {1: 0, 2: 1, 3: 2, 4: 3, 5: 2, 6: 5, 7: 6, 8: 2, 9: 0}
        families = Families(session.jumps, first_seq=1, last_seq=9)
        assert families.siblings(3) == (3, 5, 8)
        assert families.siblings(9) == (1, 9)

    async def test_a_message_behind_the_last_one_is_no_branch_wherever_the_head_was(self, store: AnyStore) -> None:
        await say(store, "1", "2")
        await store.select_head(ALICE, "s", 0)

        appended = await say(store, "3", parent_seq=2)

        assert (appended.session.head_seq, appended.session.jumps) == (3, ())
        assert {m.seq: m.parent_seq for m in await read_all(store, path="all")} == {1: 0, 2: 1, 3: 2}

    async def test_ranges_of_a_read_go_over_branches(self, store: AnyStore) -> None:
        await _three_branches(store)
        await store.select_head(ALICE, "s", 7)
        path = [1, 2, 5, 6, 7]

        for after in range(9):
            for before in range(11):
                for limit in (1, 2, 3, 5):
                    wanted = [seq for seq in path if after < seq < before]
                    bounds: dict[str, Any] = {"after_seq": after, "before_seq": before, "limit": limit}
                    assert await seqs(store, **bounds) == wanted[:limit]
                    assert await seqs(store, newest_first=True, **bounds) == wanted[::-1][:limit]

    async def test_a_parent_that_is_not_in_the_log_is_refused(self, store: AnyStore) -> None:
        await say(store, "1", "2")
        before = await found(store)

        for parent in (3, -1, 2**40):
            with pytest.raises(SeqConflict):
                await say(store, "x", parent_seq=parent)

        assert await found(store) == before
        assert await seqs(store, path="all") == [1, 2]

    async def test_a_head_that_is_not_in_the_log_is_refused(self, store: AnyStore) -> None:
        await say(store, "1", "2", "3")
        await store.prune(ALICE, "s", before_seq=2)
        before = await found(store)

        for head in (1, 4, -1, 2**40):
            with pytest.raises(SeqConflict) as error:
                await store.select_head(ALICE, "s", head)
            assert error.value.last_seq == 3

        assert await found(store) == before

    async def test_a_head_is_chosen_only_if_nothing_was_added(self, store: AnyStore) -> None:
        await say(store, "1", "2")

        with pytest.raises(SeqConflict):
            await store.select_head(ALICE, "s", 1, expected_last_seq=1)
        unchanged = await found(store)
        chosen = await store.select_head(ALICE, "s", 1, expected_last_seq=2)

        assert unchanged.head_seq == 2
        assert chosen.head_seq == 1

    async def test_a_head_is_chosen_only_if_it_is_still_the_expected_one(self, store: AnyStore) -> None:
        await say(store, "1", "2", "3")
        await store.select_head(ALICE, "s", 2, expected_head_seq=3)
        before = await found(store)

        with pytest.raises(SeqConflict):
            await store.select_head(ALICE, "s", 2, expected_head_seq=3)

        assert await found(store) == before

    async def test_popping_the_last_message_keeps_its_seq_taken(self, store: AnyStore) -> None:
        await say(store, "1", "2")
        await store.select_head(ALICE, "s", 1, expected_last_seq=2)

        again = await say(store, "3")

        assert again.first_seq == 3
        assert await texts(store) == ["1", "3"]

    async def test_an_empty_path_can_be_continued(self, store: AnyStore) -> None:
        await say(store, "1", "2")
        emptied = await store.select_head(ALICE, "s", 0)

        await say(store, "3", "4")

        assert emptied.message_count == 0
        assert await texts(store) == ["3", "4"]

    async def test_choosing_again_is_harmless(self, store: AnyStore) -> None:
        await say(store, "1", "2")

        first = await store.select_head(ALICE, "s", 1)
        second = await store.select_head(ALICE, "s", 1)

        assert first == second

    async def test_the_head_of_a_missing_session_is_not_found(self, store: AnyStore) -> None:
        with pytest.raises(NotFound):
            await store.select_head(ALICE, "s", 0)

    async def test_pruning_cuts_every_branch(self, store: AnyStore) -> None:
        await _three_branches(store)
        await store.select_head(ALICE, "s", 7)

        pruned = await store.prune(ALICE, "s", before_seq=6)

        assert (pruned.first_seq, pruned.head_seq, pruned.message_count) == (6, 7, 2)
        assert await seqs(store) == [6, 7]
        assert await seqs(store, path="all") == [6, 7, 8, 9]
        await store.select_head(ALICE, "s", 8)
        assert await seqs(store) == [8]

    async def test_many_branch_points(self, store: AnyStore) -> None:
        await say(store, "1")
        for n in range(2, 42):
            await say(store, str(n), parent_seq=n // 2)

        assert await seqs(store) == [1, 2, 5, 10, 20, 41]
        await store.select_head(ALICE, "s", 40)
        assert await seqs(store) == [1, 2, 5, 10, 20, 40]
        assert await seqs(store, path="all") == list(range(1, 42))
