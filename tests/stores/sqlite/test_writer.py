"""Group commit, and what happens to a group when one of it fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from chatkeep.domain.errors import IdReused, SeqConflict, Unavailable
from chatkeep.domain.sessions import SessionPatch
from chatkeep.ports.store import Appended
from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.stores.sqlite.transaction import Write
from chatkeep.testing.calls import ALICE, BOB, NEW, read_all, say, texts


async def test_appends_that_wait_share_a_commit(store: SqliteStore) -> None:
    await say(store, "first")
    before = store._writer.commits

    await asyncio.gather(*(say(store, f"{at}", session=f"s{at}") for at in range(100)))

    assert store._writer.commits - before < 20


async def test_an_error_undoes_its_own_call_alone(store: SqliteStore) -> None:
    await say(store, "one", key="k")

    async with _held(store):
        calls = [
            say(store, "two", scope=BOB),
            say(store, "another body", key="k"),
            say(store, "late", expected_last_seq=7),
            store.update_session(ALICE, "s", SessionPatch(title="Title")),
            store._write(_half_a_write),
            say(store, "two"),
        ]
        outcomes = await _together(calls)

    assert [type(outcome) for outcome in outcomes[1:3]] == [IdReused, SeqConflict]
    assert isinstance(outcomes[4], ZeroDivisionError)
    assert await texts(store) == ["one", "two"]
    assert await texts(store, scope=BOB) == ["two"]
    assert (await store.find_session(ALICE, "half")) is None


async def test_appends_of_one_commit_build_on_each_other(store: SqliteStore) -> None:
    await say(store, "one")

    async with _held(store):
        calls = [
            say(store, "two", key="k"),
            say(store, "two", key="k"),
            say(store, "another body", key="k"),
            say(store, "three", expected_last_seq=2),
            say(store, "late", expected_last_seq=2),
            store.select_head(ALICE, "s", 1),
            say(store, "four", "five"),
            store.prune(ALICE, "s", before_seq=3),
            say(store, "six"),
        ]
        outcomes = await _together(calls)

    again, other_body, late = outcomes[1], outcomes[2], outcomes[4]
    assert isinstance(again, Appended)
    assert (again.first_seq, again.repeated) == (2, True)
    assert [type(outcome) for outcome in (other_body, late)] == [IdReused, SeqConflict]
    said = [message.text for message in await read_all(store, path="all")]
    assert said == ["three", "four", "five", "six"]
    assert await texts(store) == ["four", "five", "six"]
    session = await store.find_session(ALICE, "s")
    assert session is not None
    assert (session.first_seq, session.last_seq, session.head_seq, session.title) == (3, 6, 6, "")


def _half_a_write(write: Write) -> None:
    write.db.sql("UPDATE sessions SET id = 'half'")
    raise ZeroDivisionError


async def test_a_full_disk_leaves_nothing_half_written_and_says_so(store: SqliteStore, path: Path) -> None:
    await say(store, "one", key="k1")
    await store._write(_forbid_growth)

    async with _held(store):
        outcomes = await _together([say(store, "x" * 100_000, session=f"s{at}", key="big") for at in range(3)])

    for outcome in outcomes:
        assert isinstance(outcome, Unavailable)
        assert "the disk is full" in str(outcome)
        assert isinstance(outcome.__cause__, apsw.FullError)
    await store._write(lambda write: write.db.connection.pragma("max_page_count", 0x7FFFFFFF))
    for at in range(3):
        assert await store.find_session(ALICE, f"s{at}") is None
        assert not (await say(store, "x" * 100_000, session=f"s{at}", key="big")).repeated
    assert _integrity(path) == "ok"


def _forbid_growth(write: Write) -> None:
    pages = write.db.connection.pragma("page_count")
    write.db.connection.pragma("max_page_count", pages)


def _integrity(path: Path) -> object:
    db = apsw.Connection(str(path))
    try:
        return db.pragma("integrity_check")
    finally:
        db.close()


async def test_what_was_cancelled_before_it_began_is_not_done(store: SqliteStore) -> None:
    async with _held(store):
        call = asyncio.create_task(say(store, "never"))
        await asyncio.sleep(0)
        call.cancel()

    await store.ping()
    assert await store.find_session(ALICE, "s") is None


async def test_calls_that_wait_when_the_store_is_closed_are_done(path: Path) -> None:
    store = await open_sqlite(path)
    calls = [asyncio.create_task(say(store, f"{at}")) for at in range(10)]
    await asyncio.sleep(0)

    await store.close()
    await asyncio.gather(*calls)

    with pytest.raises(Unavailable, match="closed"):
        await say(store, "late")


async def test_a_store_serves_several_event_loops(store: SqliteStore) -> None:
    def from_another_thread(name: str) -> None:
        asyncio.run(_say_twenty(store, name))

    threads = [threading.Thread(target=from_another_thread, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    await _say_twenty(store, "c")
    for thread in threads:
        await asyncio.to_thread(thread.join)

    assert len(await read_all(store)) == 60


async def _say_twenty(store: SqliteStore, name: str) -> None:
    for at in range(20):
        await say(store, f"{name}{at}", key=f"{name}{at}")
        assert await store.find_session(ALICE, "s") is not None


async def test_the_wal_stays_bounded_while_nobody_closes(store: SqliteStore, path: Path) -> None:
    for _ in range(30):
        await say(store, *["x" * 10_000] * 50)

    assert _size(path.with_name("chats.db-wal")) < 16 * 1024 * 1024


async def test_a_long_reader_puts_the_checkpoint_off_but_not_the_writer(store: SqliteStore, path: Path) -> None:
    await say(store, "one")
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN; SELECT count(*) FROM sessions").fetchall()

    for _ in range(10):
        await say(store, *["x" * 10_000] * 50)
    reader.close()
    for _ in range(30):
        await say(store, *["x" * 10_000] * 50)

    assert len(await read_all(store, session="s", after_seq=1_001)) == 1_000
    assert _size(path.with_name("chats.db-wal")) < 32 * 1024 * 1024


def _size(path: Path) -> int:
    return path.stat().st_size


class _held:  # noqa: N801 -- reads as a verb: `async with _held(store)`
    """Keeps the writer at its work while the body runs, so that what the body asks for forms one group."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._free = threading.Event()

    async def __aenter__(self) -> None:
        self._work = asyncio.create_task(self._store._write(lambda _: self._free.wait(10)))
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.05, self._free.set)

    async def __aexit__(self, *_: object) -> None:
        self._free.set()
        await self._work


async def _together(calls: Sequence[Coroutine[Any, Any, object]]) -> list[object]:
    return list(await asyncio.gather(*calls, return_exceptions=True))


async def test_a_new_session_and_its_first_message_are_one_commit(store: SqliteStore) -> None:
    before = store._writer.commits

    await say(store, "one", create=NEW)

    assert store._writer.commits == before + 1
