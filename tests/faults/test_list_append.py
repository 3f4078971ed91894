"""Many clients append to many sessions and read them: one order for all, and never one that has not been yet."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest
from tests.faults.history import Appended, Final, Note, Seen, anomalies, client
from tests.faults.listing import CLIENTS, SECONDS, WINDOW, list_append
from tests.faults.scale import tell

CONTROL_SECONDS = 3


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


def test_all_clients_see_one_order_and_never_an_older_state(tmp_path: Path) -> None:
    notes, final = list_append(f"sqlite:///{tmp_path}/chats.db", tmp_path, seconds=SECONDS)
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
