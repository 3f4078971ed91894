"""Processes that are forked while a store is open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from chatkeep import Chatkeep

SECONDS = 60

CLOSED_FIRST = """
import os, sys
from chatkeep import Chatkeep, user
from chatkeep.stores.sqlite import forks, place

url = "sqlite:///" + sys.argv[1]
closed, written = os.pipe(), os.pipe()
with Chatkeep.open_sync(url) as keep:
    keep.for_user("u").append("s", user("parent"), create=True)
    if "control" in sys.argv:
        forks._all.clear()
        place.Place.check = lambda self: None
    child = os.fork()
    if child == 0:
        with Chatkeep.open_sync(url) as own:
            chats = own.for_user("u")
            chats.append("s", user("before"))
            os.write(written[1], b".")
            os.read(closed[0], 1)
            chats.append("s", user("after"))
            os.write(1, b"acknowledged")
            os.kill(os.getpid(), 9)
    os.read(written[0], 1)
os.write(closed[1], b".")
os.waitpid(child, 0)
"""

IN_THE_MIDST = """
import os, sys, threading
from chatkeep import Chatkeep, user

url = "sqlite:///" + sys.argv[1]
over = threading.Event()
with Chatkeep.open_sync(url) as keep:
    chats = keep.for_user("u")
    for at in range(4):
        chats.ensure(f"s{at}")

    def write(at):
        number = 0
        while not over.is_set():
            chats.append(f"s{at}", user(f"parent {number}"))
            chats.messages(f"s{at}", last=5)
            os.write(1, f"s{at} parent {number}\\n".encode())
            number += 1

    threads = [threading.Thread(target=write, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for at in range(12):
        child = os.fork()
        if child == 0:
            with Chatkeep.open_sync(url) as own:
                mine = own.for_user("u")
                for number in range(5):
                    mine.append("s0", user(f"child {at} {number}"))
                    os.write(1, f"s0 child {at} {number}\\n".encode())
            os._exit(0)
        children.append(child)
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0
    over.set()
    for thread in threads:
        thread.join()
"""

INHERITED = """
import asyncio, os, sys
from chatkeep import Chatkeep, errors, user

url = "sqlite:///" + sys.argv[1]


def refused(call):
    try:
        call()
    except errors.NotSupported as error:
        assert "after the fork" in str(error)
    else:
        raise AssertionError("a call through what was inherited went on")


async def opened():
    opening = Chatkeep.open(url)
    return opening, await opening.__aenter__()


opening, inner = asyncio.run(opened())
with Chatkeep.open_sync(url) as keep:
    chats = keep.for_user("u")
    chats.append("s", user("parent"), create=True)
    child = os.fork()
    if child == 0:
        refused(lambda: chats.append("s", user("child")))
        refused(lambda: keep.cleanup())
        refused(lambda: asyncio.run(inner.for_user("u").messages("s")))
if child != 0:
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    with Chatkeep.open_sync(url) as keep:
        assert len(keep.for_user("u").messages("s")) == 1
"""

SESSIONS = """
import asyncio, os, sys
from chatkeep.adapters.openai_agents import ChatkeepSession

url = "sqlite:///" + sys.argv[1]
one, other = ChatkeepSession("one", url=url), ChatkeepSession("other", url=url)
said = {"role": "user", "content": "hello"}
asyncio.run(one.add_items([said]))
asyncio.run(other.add_items([said]))
child = os.fork()
if child == 0:
    asyncio.run(one.add_items([said]))
    assert len(asyncio.run(one.get_items())) == 2
    one.close()
    other.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert len(asyncio.run(one.get_items())) == 2
one.close()
other.close()
"""


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=SECONDS).stdout


def stored(file: Path, session: str) -> list[str]:
    with Chatkeep.open_sync(f"sqlite:///{file}") as keep:
        said = [getattr(message, "text", "") for message in keep.for_user("u").messages(session)]
    db = apsw.Connection(str(file))
    assert db.pragma("integrity_check") == "ok"
    db.close()
    return said


def test_what_a_forked_child_writes_survives_its_parent_closing_first(tmp_path: Path) -> None:
    assert run(CLOSED_FIRST, tmp_path / "chats.db") == "acknowledged"

    assert stored(tmp_path / "chats.db", "s") == ["parent", "before", "after"]


def test_a_child_that_gives_nothing_up_loses_what_it_writes_and_that_is_noticed(tmp_path: Path) -> None:
    assert run(CLOSED_FIRST, tmp_path / "chats.db", "control") == "acknowledged"

    assert stored(tmp_path / "chats.db", "s") == ["parent", "before"]


def test_forks_in_the_midst_of_writes_lose_nothing_and_end(tmp_path: Path) -> None:
    acknowledged = run(IN_THE_MIDST, tmp_path / "chats.db").splitlines()

    assert sum("child" in line for line in acknowledged) == 60
    for session in ("s0", "s1", "s2", "s3"):
        said = [line.removeprefix(f"{session} ") for line in acknowledged if line.startswith(session)]
        assert sorted(stored(tmp_path / "chats.db", session)) == sorted(said)


@pytest.mark.parametrize("script", [INHERITED, SESSIONS], ids=["handles", "sessions"])
def test_what_a_child_inherits_is_refused_or_opened_anew(script: str, tmp_path: Path) -> None:
    run(script, tmp_path / "chats.db")
