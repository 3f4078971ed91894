"""Copies from one store into another: everything, any number of times, and never over what is not a copy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.copies import shown

from chatkeep.domain.errors import Unavailable
from chatkeep.domain.messages import Content, Feedback, NewMessage, Text, assistant, user
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.services.copying import CopyReport, CopyService
from chatkeep.stores.memory import MemoryStore
from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.testing import FakeClock
from chatkeep.testing.calls import ALICE, BOB, NEW, digest, say

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def source() -> MemoryStore:
    return MemoryStore(FakeClock())


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(tmp_path / "copy.db", clock=FakeClock())
    yield store
    await store.close()


async def copied(source: MemoryStore, target: Any) -> CopyReport:
    return await CopyService(source, source, target).copy()


async def furnish(store: MemoryStore) -> None:
    """Store one of everything."""
    new = NewSession(title="A title", title_source="user", metadata={"a": [1, None]}, created_at=LONG_AGO)
    talk = [user("q 1"), assistant("a 1"), NewMessage("tool", Content(parts=(Text("x" * 300),)), "partial", LONG_AGO)]
    await store.append(
        ALICE,
        "talk",
        talk,
        idempotency_key="k",
        digest=digest("k"),
        create=new,
        active_at=LONG_AGO,
        idle_ttl=timedelta(days=40_000 / 2),
    )
    await say(store, "q 2", "a 2", session="talk", idle_ttl=timedelta(days=20_000))
    await say(store, "another a 1", session="talk", parent_seq=1, idle_ttl=timedelta(days=20_000))
    await store.annotate(ALICE, "talk", 2, Feedback("down", "no"))
    await store.redact(ALICE, "talk", 4)
    await store.select_head(ALICE, "talk", 5)
    await store.put_state(ALICE, "talk", "agents", b"\0{}", expected_version=0)
    await say(store, *(f"{at}" for at in range(90)), session="pruned")
    await say(store, *(f"{at}" for at in range(90)), session="pruned")
    await store.prune(ALICE, "pruned", before_seq=121)
    await say(store, "branched", session="pruned", parent_seq=130)
    await say(store, "old", session="archived")
    await store.update_session(ALICE, "archived", SessionPatch(state="archived"))
    await say(store, "top", session="pinned")
    await store.update_session(ALICE, "pinned", SessionPatch(state="pinned", title="Top"))
    await store.create_session(ALICE, "empty", NEW)
    await say(store, "b's", session="talk", scope=BOB)


async def test_everything_that_can_be_read_is_the_same_in_the_copy(source: MemoryStore, target: SqliteStore) -> None:
    await furnish(source)

    report = await copied(source, target)
    again = await copied(source, target)

    assert await shown(target) == await shown(source)
    assert await shown(target, BOB) == await shown(source, BOB)
    assert (report.scopes, dict(report.sessions), report.is_complete) == (2, {"copied": 6}, True)
    assert report.messages == 6 + 181 + 3
    assert report.verified_messages == again.verified_messages == 6 + 61 + 3
    assert (dict(again.sessions), again.messages) == ({"unchanged": 6}, 0)


async def test_a_later_copy_brings_what_has_changed(source: MemoryStore, target: SqliteStore) -> None:
    await furnish(source)
    await copied(source, target)
    await say(source, "more", session="talk")
    await source.redact(ALICE, "talk", 1)
    await source.annotate(ALICE, "talk", 2, None)
    await source.put_state(ALICE, "talk", "agents", b"new", expected_version=1)
    await source.update_session(ALICE, "archived", SessionPatch(state="active", title="Back", metadata={"b": 1}))
    await source.prune(ALICE, "pruned", before_seq=181)
    await source.purge_session(ALICE, "pinned")
    await source.purge_session(ALICE, "empty")
    await say(source, "anew", session="empty")
    await say(source, "new", session="new")

    report = await copied(source, target)

    assert await shown(target) == await shown(source)
    assert dict(report.sessions) == {"continued": 3, "copied": 2, "unchanged": 1, "removed": 1}
    assert report.messages == 1 + 1 + 1


_READS = ("find", "get", "list", "read", "state")


class Mortal:
    """A store whose process dies after so many writes, one of which it does not learn of."""

    def __init__(self, store: Any, lives: int) -> None:
        self._store = store
        self.left = lives

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if name.startswith(_READS):
            return call

        async def write(*arguments: Any, **options: Any) -> Any:
            done = await call(*arguments, **options)
            self.left -= 1
            if self.left <= 0:
                raise Died
            return done

        return write


class Died(Exception):
    """The process is no more."""


async def test_a_copy_that_dies_behind_any_write_is_completed_by_the_next(source: MemoryStore, tmp_path: Path) -> None:
    await furnish(source)
    deaths = 0
    while True:
        target = await open_sqlite(tmp_path / f"{deaths}.db", clock=FakeClock())
        try:
            with pytest.raises(Died):
                await copied(source, Mortal(target, deaths + 1))
        except pytest.fail.Exception:
            break
        else:
            report = await copied(source, target)
            assert report.is_complete
            assert await shown(target) == await shown(source)
        finally:
            await target.close()
        deaths += 1

    assert deaths > 20


async def test_a_session_that_no_copy_has_made_is_left_alone(source: MemoryStore, target: SqliteStore) -> None:
    await say(source, "ours", session="s")
    await say(target, "theirs", session="s")
    await say(target, "only there", session="t")

    report = await copied(source, target)

    assert [(item.session_id, item.outcome) for item in report.items] == [("s", "conflict")]
    assert not report.is_complete
    assert [entry[8] for _, entries, _ in await shown(target) for entry in entries] != []
    assert len(await shown(target)) == 2


async def test_a_copy_that_was_written_to_is_noticed(source: MemoryStore, target: SqliteStore) -> None:
    await say(source, "ours", session="s")
    await copied(source, target)
    await say(target, "written into the copy", session="s")

    report = await copied(source, target)

    assert [(item.session_id, item.outcome) for item in report.items] == [("s", "different")]


async def test_what_cannot_be_read_is_told_and_hides_nothing_else(source: MemoryStore, target: SqliteStore) -> None:
    await say(source, "a", "b", "c", session="s")
    rows = source._tables.shelves[ALICE]["s"].rows
    rows[2] = rows[2]._replace(body=rows[2].body + b"?")

    report = await copied(source, target)

    assert [(item.session_id, item.outcome) for item in report.items] == [("s", "unreadable")]
    assert [entry[8][1:-4] for entry in (await shown(target))[0][1]] == [b"a", b"", b"c"]


async def test_a_source_that_is_written_to_meanwhile_is_whole_after_the_last_pass(
    source: MemoryStore, target: SqliteStore
) -> None:
    done = asyncio.Event()

    async def write(session: str) -> None:
        at = 0
        while not done.is_set():
            await say(source, f"{session} {at}", session=session)
            at += 1
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as writers:
        for session in "abc":
            writers.create_task(write(session))
        for _ in range(5):
            await asyncio.sleep(0.05)
            await copied(source, target)
        done.set()
    last = await copied(source, target)

    assert last.is_complete
    assert await shown(target) == await shown(source)


class Flaky:
    """A store that is away for a moment, at every third call."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls % 3 == 0:
                raise Unavailable("for a moment")
            return await getattr(self._store, name)(*arguments, **options)

        return call


async def test_temporary_errors_are_repeated(
    source: MemoryStore, target: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatkeep.services.retrying.FIRST_WAIT_SECONDS", 0.0)
    await say(source, "a", "b", session="s")

    report = await CopyService(source, source, Flaky(target)).copy()

    assert report.is_complete
    assert await shown(target) == await shown(source)
