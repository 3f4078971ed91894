"""Small values beside a session."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from chatkeep.domain.errors import NotFound, RevisionConflict
from chatkeep.testing.calls import ALICE, NEW
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.suite import Suite

UNTIL = datetime(2100, 1, 1, tzinfo=UTC)


class StateTests(Suite):
    """Versioned values."""

    async def test_versions_count_the_writes_of_each_key(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)

        nothing = await store.get_state(ALICE, "s", "a")
        versions = [
            (await store.put_state(ALICE, "s", "a", b"1", expected_version=0)).version,
            (await store.put_state(ALICE, "s", "a", b"1", expected_version=1)).version,
            (await store.put_state(ALICE, "s", "b", b"x", expected_version=0)).version,
            (await store.put_state(ALICE, "s", "a", b"3", expected_version=2)).version,
        ]

        assert nothing is None
        assert versions == [1, 2, 1, 3]
        assert await store.get_state(ALICE, "s", "a") == (b"3", 3)
        assert await store.get_state(ALICE, "s", "b") == (b"x", 1)

    async def test_all_keys_of_a_session_are_named(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        await store.create_session(ALICE, "t", NEW)
        none = await store.state_keys(ALICE, "s")
        for key in ("b", "a\0", "é", "a", "😀"):
            await store.put_state(ALICE, "s", key, b"1", expected_version=0)
        await store.put_state(ALICE, "s", "a", b"2", expected_version=1)

        assert list(none) == []
        assert list(await store.state_keys(ALICE, "s")) == ["a", "a\0", "b", "é", "😀"]
        assert list(await store.state_keys(ALICE, "t")) == []
        await store.trash_session(ALICE, "s", until=UNTIL)
        for name in ("s", "missing"):
            with pytest.raises(NotFound):
                await store.state_keys(ALICE, name)

    async def test_another_version_than_the_stored_one_is_refused(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        with pytest.raises(RevisionConflict) as missing:
            await store.put_state(ALICE, "s", "k", b"x", expected_version=1)
        await store.put_state(ALICE, "s", "k", b"1", expected_version=0)

        for wrong in (0, 2, -1):
            with pytest.raises(RevisionConflict) as error:
                await store.put_state(ALICE, "s", "k", b"x", expected_version=wrong)
            assert (error.value.expected, error.value.current) == (wrong, 1)

        assert (missing.value.expected, missing.value.current) == (1, 0)
        assert await store.get_state(ALICE, "s", "k") == (b"1", 1)

    async def test_keys_and_sessions_are_apart(self, store: AnyStore) -> None:
        keys = ["k", "K", "k ", "k\0", "k:k", "\u00e9", "e\u0301", "😀" * 64, "k" * 256]
        for session_id in ("s", "s:k"):
            await store.create_session(ALICE, session_id, NEW)
            for key in keys:
                value = f"{session_id} {key}".encode()
                await store.put_state(ALICE, session_id, key, value, expected_version=0)

        for session_id in ("s", "s:k"):
            for key in keys:
                assert await store.get_state(ALICE, session_id, key) == (f"{session_id} {key}".encode(), 1)
            assert await store.get_state(ALICE, session_id, "other") is None

    async def test_a_write_is_neither_activity_nor_a_revision(self, store: AnyStore) -> None:
        before = await store.create_session(ALICE, "s", NEW)

        await store.put_state(ALICE, "s", "k", b"1", expected_version=0)

        assert await store.find_session(ALICE, "s") == before

    async def test_a_missing_session_has_no_state(self, store: AnyStore) -> None:
        with pytest.raises(NotFound):
            await store.get_state(ALICE, "s", "k")
        with pytest.raises(NotFound):
            await store.put_state(ALICE, "s", "k", b"", expected_version=0)

    async def test_a_write_for_another_incarnation_is_not_found_and_changes_nothing(self, store: AnyStore) -> None:
        before = await store.create_session(ALICE, "s", NEW)
        await store.put_state(ALICE, "s", "k", b"old", expected_version=0, incarnation=before.incarnation)
        await store.purge_session(ALICE, "s")
        await store.create_session(ALICE, "s", NEW)

        for version in (0, 1):
            with pytest.raises(NotFound):
                await store.put_state(
                    ALICE, "s", "k", b"late", expected_version=version, incarnation=before.incarnation
                )

        assert await store.get_state(ALICE, "s", "k") is None

    async def test_one_of_many_racing_writers_wins_each_version(self, store: AnyStore, second_store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)

        for version in range(3):
            outcomes = await asyncio.gather(
                *(
                    (store, second_store)[n % 2].put_state(
                        ALICE, "s", "k", f"{version} by {n}".encode(), expected_version=version
                    )
                    for n in range(8)
                ),
                return_exceptions=True,
            )
            won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
            lost = [outcome for outcome in outcomes if isinstance(outcome, RevisionConflict)]
            assert (len(won), len(lost)) == (1, 7)
            assert won[0].version == version + 1
            assert await store.get_state(ALICE, "s", "k") == won[0]
