"""Disks that are full, failing or read-only, and clocks that jump: clear errors, nothing lost, nothing out of order."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest
from tests.faults.disk import Disk, recording
from tests.faults.reading import whole
from tests.faults.scale import scaled, tell

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.testing.calls import ALICE, EVERYTHING, say

CALLS = scaled(300, 5_000)
HOUR = timedelta(hours=1)


def _full(path: str) -> None:
    raise apsw.FullError(f"no space left for {Path(path).name}")


def _failing(path: str) -> None:
    raise apsw.IOError(f"cannot write {Path(path).name}")


def _read_only(path: str) -> None:
    raise apsw.ReadOnlyError(f"{Path(path).name} is read-only")


async def _append_while_it_fails_at_times(store: SqliteStore, disk: Disk, fault: Callable[[str], None]) -> list[str]:
    """Append each text until it is acknowledged, on a disk that fails four times out of ten; return all errors."""
    chance = random.Random(7)  # noqa: S311 -- the same faults on every run
    errors: list[str] = []
    for at in range(CALLS):
        while True:
            disk.fault = fault if chance.random() < 0.4 else None
            try:
                await say(store, f"{at} question", f"{at} answer", key=f"turn {at}")
            except Unavailable as error:
                errors.append(str(error))
            else:
                break
    disk.fault = None
    return errors


@pytest.mark.parametrize(
    ("fault", "says"),
    [(_full, "the disk is full"), (_read_only, "cannot be written"), (_failing, "the disk failed")],
    ids=["full", "read-only", "failing"],
)
async def test_a_disk_that_fails_at_times_gives_clear_errors_and_loses_nothing(
    tmp_path: Path, fault: Callable[[str], None], says: str
) -> None:
    with recording() as disk:
        store = await open_sqlite(tmp_path / "chats.db")
        await say(store, "first", key="first")
        errors = await _append_while_it_fails_at_times(store, disk, fault)
        await store.close()
    store = await open_sqlite(tmp_path / "chats.db")
    messages = await whole(store)
    await store.close()

    tell(says, appends=CALLS, errors=len(errors), stored=len(messages))

    assert len(errors) > CALLS / 10
    assert all(says in error for error in errors)
    expected = ["first", *(f"{at} {role}" for at in range(CALLS) for role in ("question", "answer"))]
    assert [(message.seq, message.text) for message in messages] == list(enumerate(expected, start=1))


async def test_a_writer_that_ignores_the_errors_is_caught(tmp_path: Path) -> None:
    with recording() as disk:
        store = await open_sqlite(tmp_path / "chats.db")
        await say(store, "first")
        disk.fault = _full
        for at in range(5):
            with contextlib.suppress(Unavailable):
                await say(store, f"{at}")
        disk.fault = None
        await say(store, "last")
        found = await whole(store)
        await store.close()

    assert [message.text for message in found] == ["first", "last"]


async def test_a_full_disk_lets_everything_be_read(tmp_path: Path) -> None:
    with recording() as disk:
        store = await open_sqlite(tmp_path / "chats.db")
        await say(store, "question", "answer")
        disk.fault = _full
        with pytest.raises(Unavailable, match="free space"):
            await say(store, "more")
        read = [message.text for message in await whole(store)]
        disk.fault = None
        await store.close()

    assert read == ["question", "answer"]


class JumpyClock:
    """The time of day, set forwards or backwards by up to an hour before each look at it."""

    def __init__(self) -> None:
        self._chance = random.Random(3)  # noqa: S311 -- the same steps on every run

    def __call__(self) -> datetime:
        return datetime.now(UTC) + HOUR * self._chance.uniform(-1, 1)


async def test_a_clock_that_jumps_by_an_hour_loses_and_reorders_nothing(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "chats.db", clock=JumpyClock())

    async def converse(session: str) -> None:
        for turn in range(CALLS):
            key = f"{session} {turn}"
            first = await say(store, f"{turn} question", f"{turn} answer", session=session, key=key)
            again = await say(store, f"{turn} question", f"{turn} answer", session=session, key=key)
            assert (again.first_seq, again.repeated) == (first.first_seq, True)

    await asyncio.gather(*(converse(f"s{at}") for at in range(3)))
    found = [await whole(store, f"s{at}") for at in range(3)]
    listed = await store.list_sessions(ALICE, EVERYTHING, limit=10)
    await store.close()

    expected = [f"{turn} {role}" for turn in range(CALLS) for role in ("question", "answer")]
    assert [[message.text for message in messages] for messages in found] == [expected] * 3
    assert {session.message_count for session in listed.items} == {len(expected)}
    by_clock = [message.text for message in sorted(found[0], key=lambda message: message.created_at)]
    assert by_clock != expected, "the control: to order by clock is wrong here"
