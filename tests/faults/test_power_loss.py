"""The power fails at any moment: what was acknowledged is there, whatever the disk's cache had not written yet."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import apsw
from tests.faults.disk import Disk, after_power_cut, recording
from tests.faults.scale import scaled, tell

from chatkeep.domain.errors import CorruptRecord, NotSupported
from chatkeep.stores.sqlite import SqliteStore, open_sqlite
from chatkeep.stores.sqlite.store import Synchronous
from chatkeep.testing.calls import ALICE, read_all, say

STATES = scaled(500, 2_000)
NAMES = ("s0", "s1", "s2")
TURNS = 25
FILE = "chats.db"


class Outcome(NamedTuple):
    """What a power cut did: whether an acknowledged message is lost, and whether the file is damaged."""

    lost: bool
    damaged: bool


async def _write(folder: Path, disk: Disk, synchronous: Synchronous) -> None:
    """Append from several callers at once, acknowledging each turn; twice, with a restart between."""
    for part in range(2):
        store = await open_sqlite(folder / FILE, synchronous=synchronous)

        async def converse(session: str, part: int = part) -> None:
            for turn in range(TURNS):
                question, answer = f"{part}.{turn} question " * 20, f"{part}.{turn} answer " * 80
                await say(store, question, answer, session=session)  # noqa: B023 -- awaited below
                disk.acknowledge(f"{session} {part}.{turn}")

        await asyncio.gather(*(converse(session) for session in NAMES))
        await store.close()


async def _survived(folder: Path, files: dict[str, bytes], acknowledged: list[str]) -> Outcome:
    """Start again on what the disk holds, and compare it with what was promised."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        store = await open_sqlite(folder / FILE)
        found = {session: await _turns(store, session) for session in NAMES}
        await store.close()
        check = apsw.Connection(str(folder / FILE))
        sound = check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        check.close()
    except (CorruptRecord, NotSupported, apsw.CorruptError):
        return Outcome(lost=bool(acknowledged), damaged=True)
    promised = {name: [what for session, what in map(str.split, acknowledged) if session == name] for name in NAMES}
    lost = any(found[session][: len(turns)] != turns for session, turns in promised.items())
    return Outcome(lost=lost, damaged=not sound)


async def _turns(store: SqliteStore, session: str) -> list[str]:
    """Return the turns of a session, which must be whole and without a gap."""
    if await store.find_session(ALICE, session) is None:
        return []
    messages = await read_all(store, session=session)
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    said = [message.text.split()[:2] for message in messages]
    turns = [turn for turn, _ in said[::2]]
    assert said == [[turn, role] for turn in turns for role in ("question", "answer")]
    return turns


async def _outcomes(folder: Path, synchronous: Synchronous) -> list[Outcome]:
    """Let the power fail at moments all over a run of the store."""
    chance = random.Random(20)  # noqa: S311 -- the same crashes on every run
    with recording() as disk:
        (folder / "run").mkdir()
        await _write(folder / "run", disk, synchronous)
    outcomes = []
    for state in range(STATES):
        files, acknowledged = after_power_cut(disk.events[: chance.randrange(len(disk.events))], chance)
        place = folder / str(state)
        place.mkdir()
        outcomes.append(await _survived(place, files, acknowledged))
        shutil.rmtree(place)
    tell(
        f"power cuts, synchronous={synchronous}",
        events=len(disk.events),
        states=STATES,
        losing=sum(outcome.lost for outcome in outcomes),
        damaged=sum(outcome.damaged for outcome in outcomes),
    )
    return outcomes


async def test_no_power_cut_loses_an_acknowledged_message_or_damages_the_file(tmp_path: Path) -> None:
    outcomes = await _outcomes(tmp_path, "FULL")

    assert len(outcomes) == STATES
    assert Counter(outcomes) == {Outcome(lost=False, damaged=False): STATES}


async def test_a_store_that_does_not_wait_for_the_disk_is_caught(tmp_path: Path) -> None:
    outcomes = await _outcomes(tmp_path, "NORMAL")

    assert sum(outcome.lost for outcome in outcomes) > STATES / 20
