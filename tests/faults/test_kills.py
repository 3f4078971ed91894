"""Two processes that write to one file are killed again and again: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest
from tests.faults.appender import Habit, append, noted
from tests.faults.processes import quickly_started
from tests.faults.reading import whole
from tests.faults.scale import scaled, tell

from chatkeep.domain.messages import Message
from chatkeep.stores.sqlite import open_sqlite

CYCLES = scaled(60, 1_000)
CONTROL_CYCLES = 30
WRITERS = ("anna", "ben")


class Findings(NamedTuple):
    """What is wrong with the conversations of one writer."""

    acknowledged: int
    lost: int
    doubled: int
    misplaced: int


def _kill_in_mid_write(folder: Path, cycles: int, habit: Habit) -> None:
    """Start both writers, kill each at some moment, and again."""
    chance = random.Random(11)  # noqa: S311 -- spreads the kills
    context = quickly_started()
    database = str(folder / "chats.db")
    for _ in range(cycles):
        writers = [
            context.Process(target=append, args=(database, name, str(folder / name), habit), daemon=True)
            for name in WRITERS
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            time.sleep(chance.uniform(0.01, 0.08))
            writer.kill()
        for writer in writers:
            writer.join()
            assert writer.exitcode == -9, "a writer ended by itself"
            writer.close()


def _findings(folder: Path, name: str, said: Sequence[Message]) -> Findings:
    """Compare what one writer said with what it noted."""
    own = [message.text.split() for message in said if message.text.startswith(f"{name} ")]
    turns = [int(turn) for _, turn, role in own if role == "question"]
    acknowledged = noted(folder / name)
    return Findings(
        acknowledged=acknowledged,
        lost=len(set(range(acknowledged)) - set(turns)),
        doubled=len(turns) - len(set(turns)),
        misplaced=sum(first > second for first, second in itertools.pairwise(turns))
        + sum(words[2] != ("question", "answer")[at % 2] for at, words in enumerate(own)),
    )


async def _after(folder: Path) -> list[Findings]:
    """Look at every session after the last kill, through a new store."""
    store = await open_sqlite(folder / "chats.db")
    said = {name: await whole(store, name) for name in (*WRITERS, "shared")}
    await store.close()
    for messages in said.values():
        assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    connection = apsw.Connection(str(folder / "chats.db"))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return [_findings(folder, name, said[place]) for name in WRITERS for place in (name, "shared")]


def test_no_kill_loses_or_doubles_a_message(tmp_path: Path) -> None:
    _kill_in_mid_write(tmp_path, CYCLES, "sound")

    found = asyncio.run(_after(tmp_path))
    tell("kills of two writers", cycles=CYCLES, findings=found)

    assert [(each.lost, each.doubled, each.misplaced) for each in found] == [(0, 0, 0)] * 4
    assert sum(each.acknowledged for each in found) > CYCLES, "hardly anything was written between the kills"


@pytest.mark.parametrize(
    ("habit", "fault"), [("notes before it is stored", "lost"), ("repeats under another key", "doubled")]
)
def test_a_writer_with_a_bad_habit_is_caught(tmp_path: Path, habit: Habit, fault: str) -> None:
    _kill_in_mid_write(tmp_path, CONTROL_CYCLES, habit)

    found = asyncio.run(_after(tmp_path))

    assert sum(getattr(each, fault) for each in found) > 0
