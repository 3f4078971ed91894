"""What is removed leaves no bytes behind, and what a crash leaves is swept."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import user
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.stores.sqlite.records import writable
from chatkeep.stores.sqlite.removal import bury
from chatkeep.stores.sqlite.transaction import Write
from chatkeep.testing import FakeClock
from chatkeep.testing.calls import ALICE, digest, say, texts

HUSH = "xyzzyplugh"
FILES = ("chats.db", "chats.db-wal")


def _traces(path: Path, word: str = HUSH) -> list[str]:
    """Return the names of the files that hold the word."""
    return [
        name for name in FILES if path.with_name(name).exists() and word.encode() in path.with_name(name).read_bytes()
    ]


async def _say_the_secret(store: SqliteStore, session: str = "s") -> None:
    await say(store, "before", f"the word is {HUSH}, " * 20, "after", session=session)
    await store.update_session(ALICE, session, SessionPatch(title=f"about {HUSH}title"))
    await _index(store)


async def _index(store: SqliteStore) -> None:
    await store.search(ALICE, ["before"], limit=10)


async def test_a_redacted_text_is_in_no_file_any_more(store: SqliteStore, path: Path) -> None:
    await _say_the_secret(store)
    await store.update_session(ALICE, "s", SessionPatch(title="harmless"))
    assert _traces(path)

    await store.redact(ALICE, "s", 2)
    await store.ping()

    assert _traces(path) == []
    assert await texts(store) == ["before", "", "after"]


@pytest.mark.parametrize("messages", [3, 60])
async def test_a_purged_session_is_in_no_file_any_more(store: SqliteStore, path: Path, messages: int) -> None:
    await say(store, "kept", session="other")
    await _say_the_secret(store)
    for at in range(3, messages, 30):
        await say(store, *[f"{HUSH} {number}" for number in range(at, at + 30)])
    await _index(store)
    assert _traces(path)

    receipt = await store.purge_session(ALICE, "s")
    while await store.sweep(events_before=FakeClock().now):
        pass
    await store.ping()

    assert receipt.removed["messages"] >= messages
    assert _traces(path) == []
    assert await texts(store, session="other") == ["kept"]
    assert [hit.session.id for hit in (await store.search(ALICE, ["kept"], limit=10)).items] == ["other"]


async def test_pruned_messages_are_in_no_file_any_more(store: SqliteStore, path: Path) -> None:
    await _say_the_secret(store)
    await store.update_session(ALICE, "s", SessionPatch(title="harmless"))

    await store.prune(ALICE, "s", before_seq=3)
    await store.ping()

    assert _traces(path) == []


async def test_an_erased_scope_leaves_not_even_its_name(store: SqliteStore, path: Path) -> None:
    scope = Scope("acme", "support", HUSH)
    await say(store, "one", scope=scope)
    await store.search(scope, ["one"], limit=10)

    receipt = await store.erase_scope(scope)
    await store.ping()

    assert receipt.removed["sessions"] == 1
    assert _traces(path) == []


async def test_what_a_crash_left_of_a_purge_is_swept_and_never_seen(store: SqliteStore, path: Path) -> None:
    await _say_the_secret(store)
    await store._write(_bury)

    with pytest.raises(NotFound):
        await texts(store)
    assert (await store.search(ALICE, [HUSH], limit=10)).items == ()
    await store.create_session(ALICE, "s", NewSession())
    assert await texts(store) == []
    swept = 0
    while removed := await store.sweep(events_before=FakeClock().now, limit=2):
        swept += removed
    assert swept >= 3
    assert _traces(path) == []


def _bury(write: Write) -> None:
    bury(write, writable(write.db, ALICE, "s", FakeClock().now))


async def test_a_crash_between_the_steps_of_a_prune_is_made_up_for(path: Path, clock: FakeClock) -> None:
    store = await open_sqlite(path, clock=clock)
    await _say_the_secret(store)
    await store._write(lambda write: write.db.sql("UPDATE sessions SET first_seq = 3"))

    removed = await store.sweep(events_before=clock.now)
    again = await store.sweep(events_before=clock.now)
    await store.close()

    assert (removed, again) == (2, 0)


async def test_keys_are_remembered_after_a_clear(store: SqliteStore) -> None:
    first = await say(store, "one", key="k")
    await store.prune(ALICE, "s", before_seq=2)

    repeated = await store.append(
        ALICE, "s", [user("one")], idempotency_key="k", digest=digest("one"), create=NewSession()
    )

    assert repeated.repeated
    assert repeated.first_seq == first.first_seq
