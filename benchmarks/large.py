"""Much of everything: a session of a million messages, and a user with a hundred thousand sessions."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import table
from benchmarks.workload import turn
from chatkeep import Chatkeep, assistant, user

REPEATS = 500
AT_ONCE = 50
BATCH_TURNS = 50


async def _p99(call: Callable[[], Awaitable[object]]) -> float:
    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        await call()
        taken.append(1_000 * (time.perf_counter() - begun))
    return sorted(taken)[int(REPEATS * 0.99)]


class Bounds(NamedTuple):
    """What is asked of the 99th percentiles, in ms."""

    page: int
    listing: int


async def _run(url: str, messages: int, sessions: int, bounds: Bounds) -> str:
    async with Chatkeep.open(url) as keep:
        long = keep.for_user("long")
        begun = time.perf_counter()
        for at in range(0, messages, 2 * BATCH_TURNS):
            said = [turn(f"{at}.{number}") for number in range(BATCH_TURNS)]
            both = [message for question, answer in said for message in (user(question), assistant(answer))]
            await long.append("long", *both, create=True)
        filled = time.perf_counter() - begun
        many = keep.for_user("many")
        for at in range(0, sessions, AT_ONCE):
            await asyncio.gather(*(many.create(f"s{at + more}") for more in range(AT_ONCE)))
        page = await _p99(lambda: long.messages("long", last=20))
        middle = await _p99(lambda: long.messages("long", last=20, before_seq=messages // 2))
        append = await _p99(lambda: long.append("long", user("more")))
        first = await _p99(many.list)
        after = (await many.list()).next
        second = await _p99(lambda: many.list(after=after))
    rows = [
        [f"the last page of a session of {messages:,} messages, p99", f"≤ {bounds.page} ms", f"{page:.2f} ms"],
        ["a page in its middle, p99", "", f"{middle:.2f} ms"],
        ["an append to it, p99", "", f"{append:.2f} ms"],
        [f"the first page of a list of {sessions:,} sessions, p99", f"≤ {bounds.listing} ms", f"{first:.2f} ms"],
        ["the second page, p99", "", f"{second:.2f} ms"],
    ]
    told = f"Filled at {messages / filled:,.0f} messages a second, in batches of 100, search index included.\n"
    return "\n".join([table(["on this machine", "asked", "measured"], rows), told])


def run(messages: int, sessions: int) -> str:
    """Measure SQLite, and return the part of docs/performance.md about large data."""
    with tempfile.TemporaryDirectory() as made:
        url = f"sqlite:///{Path(made, 'chats.db')}"
        return "## Large\n\n" + asyncio.run(_run(url, messages, sessions, Bounds(20, 10)))


def run_on(url: str, messages: int, sessions: int) -> str:
    """Measure an empty database of a server, and return what to say of it."""
    return "### Large\n\n" + asyncio.run(_run(url, messages, sessions, Bounds(50, 30)))
