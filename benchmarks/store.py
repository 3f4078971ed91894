"""The SQLite store beside a floor: the least code that appends, reads and lists on the same driver, as durably.

Both sides are measured in turns in one run, and medians are compared. A turn is two messages of 200 and 800 characters.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw

from chatkeep import Chatkeep, Message, assistant, user

SESSIONS = 1_000
SEEDED = 2_000
REPEATS = 200

_WORDS = [
    "session",
    "history",
    "message",
    "model",
    "answer",
    "question",
    "token",
    "user",
    "assistant",
    "database",
    "when",
    "what",
    "where",
]


def text(size: int) -> str:
    """Return `size` characters of words."""
    source = random.Random(size)  # noqa: S311 -- filler
    return " ".join(source.choice(_WORDS) for _ in range(size))[:size]


QUESTION, ANSWER = text(200), text(800)


class Floor:
    """Hand-written tables with nothing but what the measured calls need."""

    def __init__(self, path: Path) -> None:
        self.db = apsw.Connection(str(path))
        self.db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        self.db.execute(
            "CREATE TABLE s(id TEXT PRIMARY KEY, owner TEXT, modified INTEGER, last INTEGER);"
            "CREATE INDEX s_list ON s(owner, modified DESC);"
            "CREATE TABLE m(sid TEXT, seq INTEGER, body TEXT, PRIMARY KEY(sid, seq)) WITHOUT ROWID"
        )

    def create(self, session: str) -> None:
        self.db.execute("INSERT INTO s VALUES(?, 'o', ?, 0)", (session, time.time_ns()))

    def append(self, session: str) -> None:
        with self.db:
            last = self.db.execute(
                "UPDATE s SET last = last + 2, modified = ? WHERE id = ? RETURNING last", (time.time_ns(), session)
            ).get
            assert isinstance(last, int)
            for seq, role, said in ((last - 1, "user", QUESTION), (last, "assistant", ANSWER)):
                self.db.execute(
                    "INSERT INTO m VALUES(?, ?, ?)", (session, seq, json.dumps({"role": role, "text": said}))
                )

    def read(self, session: str, limit: int) -> list[tuple[str, str]]:
        rows = self.db.execute("SELECT body FROM m WHERE sid = ? ORDER BY seq DESC LIMIT ?", (session, limit))
        decoded = [json.loads(body) for (body,) in rows]
        return [(body["role"], body["text"]) for body in decoded]

    def listed(self) -> object:
        return self.db.execute(
            "SELECT id, modified, last FROM s WHERE owner = 'o' ORDER BY modified DESC LIMIT 50"
        ).fetchall()


async def run(folder: Path | None, rounds: int) -> int:
    """Measure and print a table in Markdown."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        place = Path(made)
        floor = Floor(place / "floor.db")
        async with Chatkeep.open(f"sqlite:///{place}/chatkeep.db") as keep:
            chats = keep.for_user("o")
            for at in range(SESSIONS):
                floor.create(f"s{at}")
                await chats.create(f"s{at}")
            for _ in range(SEEDED // 2):
                floor.append("s0")
                await chats.append_turn("s0", QUESTION, ANSWER)

            async def read(limit: int) -> None:
                for message in await chats.messages("s0", last=limit):
                    assert isinstance(message, Message)
                    _ = (message.role, message.text)

            async def append() -> None:
                await chats.append("s0", user(QUESTION), assistant(ANSWER))

            rows: list[tuple[str, Callable[[], object], Callable[[], Awaitable[object]], int]] = [
                ("append a turn", lambda: floor.append("s0"), append, REPEATS),
                ("read the last 20", lambda: floor.read("s0", 20), lambda: read(20), REPEATS),
                ("read 1,000", lambda: floor.read("s0", 1_000), lambda: read(1_000), REPEATS // 10),
                ("list 50 of 1,000 sessions", floor.listed, chats.list, REPEATS),
            ]
            print("| what | Chatkeep, µs | floor, µs | ratio |\n|---|---|---|---|")
            for name, least, ours, repeats in rows:
                mine: list[float] = []
                other: list[float] = []
                for _ in range(rounds):
                    other.append(_time(least, repeats))
                    mine.append(await _time_async(ours, repeats))
                a, b = statistics.median(mine), statistics.median(other)
                print(f"| {name} | {a:.0f} | {b:.0f} | {a / b:.2f} |")
        floor.db.close()
    return 0


def _time(call: Callable[[], object], repeats: int) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begun) / repeats * 1e6


async def _time_async(call: Callable[[], Awaitable[object]], repeats: int) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        await call()
    await asyncio.sleep(0)
    return (time.perf_counter() - begun) / repeats * 1e6
