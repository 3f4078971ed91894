from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st

from chatkeep.domain.messages import Role, assistant, user
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession, SettableState
from chatkeep.services import mine
from chatkeep.services.mine import MinePosition, MineService
from chatkeep.stores.memory import MemoryStore

ALICE = Scope("t", "app", "alice")
BOB = Scope("t", "app", "bob")
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=1)


def after_start(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(lambda: NOW)


async def say(
    store: MemoryStore,
    session_id: str,
    seconds: Sequence[int],
    *,
    scope: Scope = ALICE,
    new: NewSession | None = None,
    active_at: int | None = None,
) -> None:
    """Append one message for each of the times; the session is active at the latest of them unless said otherwise."""
    session, _ = await store.ensure_session(scope, session_id, new or NewSession(created_at=START))
    await store.append(
        scope,
        session_id,
        [user(f"{session_id} {at}", created_at=after_start(at)) for at in seconds],
        idempotency_key=str(session.last_seq),
        digest=bytes(16),
        active_at=after_start(max(seconds) if active_at is None else active_at),
    )


async def paged(
    store: MemoryStore, *, limit: int = 200, role: Role | None = None, scope: Scope = ALICE
) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    after: MinePosition | None = None
    while True:
        page = await MineService(store).messages(scope, limit=limit, after=after, role=role)
        found += [(session.id, message.seq) for session, message in page.items]
        if page.next is None:
            return found
        after = page.next


async def test_messages_of_all_sessions_come_newest_first(store: MemoryStore) -> None:
    await say(store, "a", [1, 4, 7])
    await say(store, "b", [2, 4, 6])
    await say(store, "pinned", [3, 5], new=NewSession(state="pinned", created_at=START))

    assert await paged(store) == [
        ("a", 3),
        ("b", 3),
        ("pinned", 2),
        ("b", 2),
        ("a", 2),
        ("pinned", 1),
        ("b", 1),
        ("a", 1),
    ]


async def test_only_listed_sessions_of_the_caller_count(store: MemoryStore) -> None:
    await say(store, "mine", [1])
    await say(store, "archived", [2], new=NewSession(state="archived", created_at=START))
    await say(store, "hidden", [3], new=NewSession(hidden=HIDDEN_UNTIL_REVEAL, created_at=START))
    await say(store, "trashed", [4])
    await say(store, "bobs", [5], scope=BOB)
    await store.trash_session(ALICE, "trashed", until=after_start(100))

    assert await paged(store) == [("archived", 1), ("mine", 1)]


async def test_only_the_active_path_counts(store: MemoryStore) -> None:
    await say(store, "s", [1, 2])
    await store.append(ALICE, "s", [user("instead")], idempotency_key="b", digest=bytes(16), parent_seq=1)

    assert sorted(await paged(store)) == [("s", 1), ("s", 3)]


async def test_a_role_is_picked_out(store: MemoryStore) -> None:
    await store.append(
        ALICE, "s", [user("q"), assistant("a"), user("q2")], idempotency_key="1", digest=bytes(16), create=NewSession()
    )

    assert await paged(store, role="assistant", limit=1) == [("s", 2)]


async def test_a_page_that_looks_at_too_many_messages_ends_early(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mine, "MAX_EXAMINED_MESSAGES", 3)
    await say(store, "s", range(10))

    page = await MineService(store).messages(ALICE, limit=5, role="tool")

    assert page.items == ()
    assert page.next == MinePosition(
        (START - datetime(1970, 1, 1, tzinfo=UTC)).days * 86_400_000_000 + 7_000_000, "s", 8
    )
    assert await paged(store, role="tool") == []
    assert await paged(store, limit=2) == [("s", seq) for seq in range(10, 0, -1)]


async def test_an_imported_message_dated_after_its_session_counts_as_old_as_the_session(store: MemoryStore) -> None:
    await say(store, "odd", [50, 1], active_at=2)
    await say(store, "even", [3])

    assert await paged(store, limit=1) == [("even", 1), ("odd", 2), ("odd", 1)]


PLACES = st.lists(st.integers(min_value=0, max_value=12), min_size=1, max_size=45)
SESSIONS = st.lists(
    st.tuples(PLACES, st.sampled_from(["active", "pinned", "unpinned", "archived"]), st.integers(0, 15)), max_size=5
)


@settings(max_examples=60, deadline=None)
@given(SESSIONS, st.integers(min_value=1, max_value=9))
def test_small_pages_show_what_one_large_page_shows(
    sessions: list[tuple[list[int], SettableState, int]], limit: int
) -> None:
    async def run() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        store = MemoryStore(lambda: NOW)
        for at, (seconds, state, active) in enumerate(sessions):
            new = NewSession(state=state, created_at=START)
            await say(store, f"s{at}" * (1 + at % 2), seconds, new=new, active_at=active)
        return await paged(store, limit=200), await paged(store, limit=limit)

    whole, small = asyncio.run(run())

    assert small == whole
    assert len(set(whole)) == len(whole) == sum(len(seconds) for seconds, _, _ in sessions)
    for name in {name for name, _ in whole}:
        seqs = [seq for session_id, seq in whole if session_id == name]
        assert seqs == sorted(seqs, reverse=True)
