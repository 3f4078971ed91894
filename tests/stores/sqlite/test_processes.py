"""Several processes on one file, and their deaths."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import apsw
import pytest

from chatkeep.domain.errors import Unavailable
from chatkeep.domain.messages import Message
from chatkeep.stores.sqlite import open_sqlite
from chatkeep.stores.sqlite.lock import WriteTurn
from chatkeep.testing.calls import read_all, say, texts

WORKER = Path(__file__).with_name("worker.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
DELETE_AND_HANG = """
import sys, time
from pathlib import Path
import apsw
from chatkeep.stores.sqlite.lock import WriteTurn

path = Path(sys.argv[1])
turn = WriteTurn(path)
turn.acquire()
db = apsw.Connection(str(path))
db.execute("BEGIN IMMEDIATE; DELETE FROM messages")
print("ready", flush=True)
time.sleep(60)
"""


async def _start(path: Path, name: str, first: int, end: int) -> Process:
    arguments = (str(WORKER), str(path), name, str(first), str(end))
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE, env=ENVIRONMENT)


async def _finish(process: Process) -> dict[int, int]:
    """Wait for a worker's end and return the seqs that it was given."""
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return _acknowledged(out)


def _acknowledged(out: bytes) -> dict[int, int]:
    """Return the seq of each number, from the lines that were written whole."""
    lines = out.decode().split("\n")[:-1]
    return {int(number): int(seq) for number, seq in (line.split() for line in lines)}


async def _stored(path: Path) -> dict[str, int]:
    """Return the seq of each text, after checking that nothing is torn, doubled or missing in between."""
    store = await open_sqlite(path)
    messages: list[Message] = []
    while page := await read_all(store, after_seq=len(messages)):
        messages += page
    await store.close()
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    said = [message.text for message in messages]
    assert [f"{text}!" for text in said[::2]] == said[1::2]
    assert len(set(said)) == len(said)
    db = apsw.Connection(str(path))
    assert db.pragma("integrity_check") == "ok"
    db.close()
    return {message.text: message.seq for message in messages}


async def test_four_processes_write_to_one_session_without_loss_or_repetition(path: Path) -> None:
    names = ["a", "b", "c", "d"]

    workers = [await _start(path, name, 0, 60) for name in names]
    given = dict(zip(names, await asyncio.gather(*(_finish(worker) for worker in workers)), strict=True))

    assert {f"{name}/{number}": seq for name in names for number, seq in given[name].items()} == {
        text: seq for text, seq in (await _stored(path)).items() if not text.endswith("!")
    }
    assert all(len(seqs) == 60 for seqs in given.values())


async def test_killed_writers_lose_nothing_that_was_acknowledged_and_leave_no_lock(path: Path) -> None:
    acknowledged: dict[str, dict[int, int]] = {"a": {}, "b": {}}

    for cycle in range(3):
        workers = {name: await _start(path, name, len(seqs), 100_000) for name, seqs in acknowledged.items()}
        for name, worker in workers.items():
            assert worker.stdout is not None
            line = await asyncio.wait_for(worker.stdout.readline(), 20)
            acknowledged[name].update(_acknowledged(line))
        await asyncio.sleep(0.05 * cycle)
        for name, worker in workers.items():
            worker.kill()
            out, _ = await worker.communicate()
            acknowledged[name].update(_acknowledged(out))

    stored = await _stored(path)
    for name, seqs in acknowledged.items():
        assert list(seqs) == list(range(len(seqs)))
        assert {number: stored[f"{name}/{number}"] for number in seqs} == seqs


async def test_a_store_goes_on_when_a_process_dies_in_its_transaction(path: Path) -> None:
    store = await open_sqlite(path)
    await say(store, "before")
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DELETE_AND_HANG, str(path), stdout=PIPE, env=ENVIRONMENT
    )
    assert other.stdout is not None
    await other.stdout.readline()

    waiting = asyncio.create_task(say(store, "after"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    other.kill()
    await other.wait()
    await waiting

    assert await texts(store) == ["before", "after"]
    await store.close()


def test_the_one_in_front_of_the_door_is_next_though_the_last_writer_wants_more(path: Path) -> None:
    busy, patient = WriteTurn(path), WriteTurn(path)
    probe = WriteTurn(path, deadline_seconds=0)
    order: list[str] = []

    def wait() -> None:
        patient.acquire()
        order.append("patient")
        patient.release()

    busy.acquire()
    waiting = threading.Thread(target=wait)
    waiting.start()
    while _place_is_free(probe):
        time.sleep(0.001)
    busy.release()
    busy.acquire()
    order.append("busy")
    busy.release()
    waiting.join()

    assert order == ["patient", "busy"]
    for turn in (busy, patient, probe):
        turn.close()


def _place_is_free(turn: WriteTurn) -> bool:
    try:
        turn._wait(turn._place, 0, 0)
    except Unavailable:
        return False
    fcntl.flock(turn._place, fcntl.LOCK_UN)
    return True


def test_a_turn_that_does_not_come_is_unavailable_and_says_why(path: Path) -> None:
    holder, other = WriteTurn(path), WriteTurn(path, deadline_seconds=0.01)
    holder.acquire()

    with pytest.raises(Unavailable, match="another process"):
        other.acquire()
    holder.release()

    other.acquire()
    holder.close()
    other.close()


async def test_a_write_waits_for_a_foreign_transaction(path: Path) -> None:
    store = await open_sqlite(path)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    waiting = asyncio.create_task(say(store, "one"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()

    assert (await waiting).last_seq == 1
    await store.close()
