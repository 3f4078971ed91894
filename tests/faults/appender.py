"""A process that appends turns, notes which were acknowledged, and goes on after a kill where its notes end."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path
from secrets import token_hex
from typing import Literal

from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.testing.calls import say

Habit = Literal["sound", "notes before it is stored", "repeats under another key"]


def append(database: str, name: str, notes: str, habit: Habit) -> None:
    """Append turn after turn to the session that all share and to one of its own, until killed."""
    asyncio.run(_append(Path(database), name, Path(notes), habit))


def noted(notes: Path) -> int:
    """Return how many turns are acknowledged; a line cut off by a kill was not written before it was acknowledged."""
    return notes.read_bytes().count(b"\n") if notes.exists() else 0


async def _append(database: Path, name: str, notes: Path, habit: Habit) -> None:
    store = await open_sqlite(database)
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for turn in itertools.count(noted(notes)):
        if habit == "notes before it is stored":
            os.write(file, b"\n")
        await _say(store, name, turn, again=token_hex(4) if habit == "repeats under another key" else "")
        if habit != "notes before it is stored":
            os.write(file, b"\n")


async def _say(store: SqliteStore, name: str, turn: int, again: str) -> None:
    said = (f"{name} {turn} question", f"{name} {turn} answer")
    await asyncio.gather(*(say(store, *said, session=place, key=f"{name} {turn}{again}") for place in ("shared", name)))
