"""Many clients append to many sessions and read them: one order for all, and never one that has not been yet."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import pickle
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest
from tests.faults.history import SESSIONS, Appended, Final, Note, Seen, anomalies, client
from tests.faults.reading import whole
from tests.faults.scale import scaled, tell

from chatkeep.domain.messages import Message
from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.testing.calls import ALICE, say

SECONDS = scaled(60, 600)
CONTROL_SECONDS = 3
PROCESSES = 2
CLIENTS = 32
WINDOW = 20


class Stored:
    """The store."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def append(self, session: str, value: str) -> int:
        """Return the seq of the value."""
        return (await say(self._store, value, session=session, key=value)).first_seq

    async def newest(self, session: str) -> tuple[tuple[int, str], ...]:
        """Return the last entries."""
        if await self._store.find_session(ALICE, session) is None:
            return ()
        read = await self._store.read(ALICE, session, newest_first=True, limit=WINDOW)
        return tuple((entry.seq, entry.text) for entry in reversed(read) if isinstance(entry, Message))


class SeqBeforeCommit:
    """The mistake that is to be caught: a number is taken first, and the entry stored under it a moment later."""

    def __init__(self) -> None:
        self._numbers: dict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
        self._entries: dict[str, dict[int, str]] = defaultdict(dict)
        self._chance = random.Random(1)  # noqa: S311 -- spreads the moments

    async def append(self, session: str, value: str) -> int:
        """Return the seq of the value."""
        seq = next(self._numbers[session])
        await asyncio.sleep(self._chance.uniform(0, 0.005))
        self._entries[session][seq] = value
        return seq

    async def newest(self, session: str) -> tuple[tuple[int, str], ...]:
        """Return the last entries."""
        await asyncio.sleep(0)
        return tuple(sorted(self._entries[session].items())[-WINDOW:])


def work(database: str, process: int, until: float, notes: str) -> None:
    """Run a share of the clients in a process of its own and write what happened."""

    async def run() -> list[Note]:
        store = await open_sqlite(Path(database))
        names = [f"{process}-{at}" for at in range(CLIENTS // PROCESSES)]
        done = await asyncio.gather(*(client(name, Stored(store), until) for name in names))
        await store.close()
        return list(itertools.chain.from_iterable(done))

    Path(notes).write_bytes(pickle.dumps(asyncio.run(run())))


async def _final(database: Path) -> Final:
    store = await open_sqlite(database)
    final = {}
    for name in (f"s{at}" for at in range(SESSIONS)):
        final[name] = [(message.seq, message.text) for message in await whole(store, name)]
    await store.close()
    return final


def test_all_clients_see_one_order_and_never_an_older_state(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    database = tmp_path / "chats.db"
    until = time.monotonic() + SECONDS
    files = [tmp_path / f"notes-{at}" for at in range(PROCESSES)]
    workers = [
        context.Process(target=work, args=(str(database), at, until, str(file))) for at, file in enumerate(files)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES

    notes: list[Note] = list(itertools.chain.from_iterable(pickle.loads(file.read_bytes()) for file in files))  # noqa: S301 -- our own
    final = asyncio.run(_final(database))
    tell("list-append", seconds=SECONDS, calls=len(notes), stored=sum(map(len, final.values())))

    assert anomalies(notes, final) == []
    assert sum(map(len, final.values())) == sum(isinstance(note, Appended) for note in notes) > SECONDS * 100


async def test_a_store_that_takes_the_number_before_the_commit_is_caught() -> None:
    listing = SeqBeforeCommit()
    until = time.monotonic() + CONTROL_SECONDS
    done = await asyncio.gather(*(client(str(name), listing, until) for name in range(CLIENTS)))
    final = {session: sorted(entries.items()) for session, entries in listing._entries.items()}

    found = anomalies(itertools.chain.from_iterable(done), final)

    assert any("a read with a gap" in anomaly for anomaly in found)


FINAL = {"s": [(1, "a"), (2, "b"), (3, "c")]}


@pytest.mark.parametrize(
    ("notes", "final", "says"),
    [
        ([Appended(0, 1, "s", 4, "d")], FINAL, "d is not at 4"),
        ([Appended(0, 1, "s", 2, "a")], FINAL, "a is not at 2"),
        ([Appended(0, 1, "s", 1, "a")], {"s": [(1, "a"), (2, "a")]}, "a doubled value"),
        ([Appended(0, 1, "s", 1, "a")], {"s": [(1, "a"), (3, "c")]}, "a gap in the end"),
        ([Seen(0, 1, "s", ((1, "a"), (3, "c")))], FINAL, "a read with a gap"),
        ([Appended(0, 1, "s", 2, "b"), Seen(2, 3, "s", ((1, "a"),))], FINAL, "ends before 2"),
        ([Appended(0, 1, "s", 1, "a"), Seen(2, 3, "s", ())], FINAL, "ends before 1"),
        ([Seen(0, 1, "s", ((1, "a"), (2, "b"))), Seen(2, 3, "s", ((1, "a"),))], FINAL, "ends before 2"),
        ([Seen(0, 1, "s", ((2, "b"),)), Appended(2, 3, "s", 1, "a")], FINAL, "below 2"),
    ],
    ids=["lost", "reordered", "doubled", "gap", "gap seen", "stale", "unseen", "older", "below"],
)
def test_each_anomaly_is_found(notes: list[Note], final: Final, says: str) -> None:
    assert any(says in anomaly for anomaly in anomalies(notes, final))


def test_calls_that_overlap_may_be_in_either_order() -> None:
    notes: list[Note] = [
        Appended(0, 5, "s", 2, "b"),
        Appended(1, 6, "s", 1, "a"),
        Seen(2, 3, "s", ((1, "a"),)),
        Seen(2, 3, "s", ()),
        Seen(4, 7, "s", ((1, "a"), (2, "b"))),
        Appended(8, 9, "s", 3, "c"),
    ]

    assert anomalies(notes, FINAL) == []
