"""One side in one process: reads requests as lines of JSON, does the work and answers in kind.

Runs with nothing but Python and what the side itself imports, so that memory and import time are the side's.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.sides import ENGINES
from benchmarks.workload import WINDOW, Side, mark_of, turn

MIB = 1024 * 1024
SETTLED_SECONDS = 2.0
LONGEST_SETTLING_SECONDS = 60.0


def resident_mib() -> float:
    """Return how much memory the process holds now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / MIB


class Worker:
    """Does what the requests say; each method is one kind of request."""

    def __init__(self, engine: str, name: str, place: str) -> None:
        self._entry = ENGINES[engine][name]
        self._place = place
        self._sessions: dict[str, Any] = {}
        self._marks = 0

    async def open(self) -> dict[str, float]:
        """Import the side and open its database."""
        before = time.perf_counter()
        module = importlib.import_module(self._entry.module)
        self._side: Side = getattr(module, self._entry.name)()
        await self._side.open(self._place)
        return {"seconds": time.perf_counter() - before, "mib": resident_mib()}

    async def _session(self, name: str) -> Any:
        if name not in self._sessions:
            self._sessions[name] = await self._side.session(name)
        return self._sessions[name]

    async def _timed(self, call: Callable[[], Awaitable[object]], seconds: float, most: int) -> dict[str, Any]:
        """Repeat the call for so long, or so often; return the microseconds of each but the first."""
        await call()
        taken: list[float] = []
        until = time.perf_counter() + seconds
        while not taken or (len(taken) < most and time.perf_counter() < until):
            begun = time.perf_counter_ns()
            await call()
            taken.append((time.perf_counter_ns() - begun) / 1_000)
        return {"us": taken}

    async def seed(self, session: str, turns: int) -> None:
        """Make a session of so many turns."""
        await self._side.seed(session, turns)

    async def seed_list(self, user: str, count: int) -> None:
        """Give a user so many sessions."""
        await self._side.seed_list(user, count)

    async def append(self, session: str, seconds: float, most: int) -> dict[str, Any]:
        """Time an append to a session, or, with none named, to a new one each time."""
        held = await self._session(session) if session else None

        async def call() -> None:
            self._marks += 1
            place = held if session else await self._side.session(f"new{self._marks}.{os.getpid()}")
            await self._side.append(place, *turn(f"append{self._marks}"))

        return await self._timed(call, seconds, most)

    async def newest(self, session: str, seconds: float, most: int, count: int = WINDOW) -> dict[str, Any]:
        """Time a read of the last messages."""
        held = await self._session(session)
        assert len(await self._side.newest(held, count)) == count
        return await self._timed(lambda: self._side.newest(held, count), seconds, most)

    async def everything(self, session: str, seconds: float, most: int, count: int) -> dict[str, Any]:
        """Time a read of all messages."""
        held = await self._session(session)
        assert len(await self._side.everything(held)) == count
        return await self._timed(lambda: self._side.everything(held), seconds, most)

    async def recent(self, user: str, seconds: float, most: int, count: int) -> dict[str, Any]:
        """Time a list."""
        assert await self._side.recent(user, 50) == count
        return await self._timed(lambda: self._side.recent(user, 50), seconds, most)

    async def hop(self, seconds: float, most: int) -> dict[str, Any]:
        """Time a call that does nothing in another thread."""
        hop: Callable[[], Awaitable[object]] = getattr(self._side, "hop")  # noqa: B009 -- the floor alone has it
        return await self._timed(hop, seconds, most)

    async def crowd(self, prefix: str, first: int, last: int, turns: int, start: float) -> dict[str, Any]:
        """Let sessions first…last-1 go on at once: each reads its window, then appends, turn after turn."""
        sessions = {at: await self._side.session(f"{prefix}.{at}") for at in range(first, last)}
        errors: Counter[str] = Counter()
        stale = 0

        async def converse(at: int) -> None:
            nonlocal stale
            for number in range(turns):
                try:
                    seen = await self._side.newest(sessions[at], WINDOW)
                    await self._side.append(sessions[at], *turn(f"{at}.{number}"))
                except Exception as error:  # noqa: BLE001 -- whatever a peer raises is a result
                    errors[f"{type(error).__name__}: {error}"[:100]] += 1
                else:
                    stale += len(seen) != min(WINDOW, 2 * number)

        await asyncio.sleep(max(0.0, start - time.time()))
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(converse(at) for at in range(first, last)))
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        done = (last - first) * turns - sum(errors.values())
        wrong = [at for at in range(first, last) if not await self._is_whole(sessions[at], at, turns)]
        return {"turns": done, "seconds": seconds, "cpu": cpu, "errors": errors, "stale": stale, "wrong": len(wrong)}

    async def _is_whole(self, session: Any, at: int, turns: int) -> bool:
        marks = [mark_of(said.text) for said in await self._side.everything(session)]
        return marks == [(f"{at}.{number}", which) for number in range(turns) for which in "qa"]

    async def share(self, session: str, first: int, last: int, turns: int, start: float) -> dict[str, Any]:
        """Let writers first…last-1 append to one session at once, while a reader looks whether what it saw changes."""
        acknowledged: list[str] = []
        errors: Counter[str] = Counter()
        changed = reads = 0
        writing = True

        async def write(writer: int) -> None:
            held = await self._side.session(session)
            for number in range(turns):
                mark = f"{writer}.{number}"
                try:
                    await self._side.append(held, *turn(mark))
                except Exception as error:  # noqa: BLE001 -- whatever a peer raises is a result
                    errors[f"{type(error).__name__}: {error}"[:100]] += 1
                else:
                    acknowledged.append(mark)
                await asyncio.sleep(random.random() / 1_000)  # noqa: S311 -- mixes the writers

        async def read() -> None:
            nonlocal changed, reads
            held = await self._side.session(session)
            seen: list[str] = []
            while writing:
                try:
                    found = [said.text for said in await self._side.everything(held)]
                except Exception as error:  # noqa: BLE001 -- whatever a peer raises is a result
                    errors[f"{type(error).__name__}: {error}"[:100]] += 1
                else:
                    changed += found[: len(seen)] != seen
                    reads += 1
                    seen = found
                await asyncio.sleep(0.002)

        await asyncio.sleep(max(0.0, start - time.time()))
        reader = asyncio.create_task(read())
        await asyncio.gather(*(write(writer) for writer in range(first, last)))
        writing = False
        await reader
        return {"acknowledged": acknowledged, "errors": errors, "changed": changed, "reads": reads}

    async def look(self, session: str, acknowledged: list[str]) -> dict[str, int]:
        """Compare a shared session with what its writers were told."""
        said = await self._side.everything(await self._side.session(session))
        marks = [mark_of(each.text) for each in said]
        place = {mark: at for at, mark in enumerate(marks)}
        kept = [mark for mark in acknowledged if (mark, "q") in place and (mark, "a") in place]
        order: dict[str, int] = {}
        reordered = 0
        for mark, which in marks:
            writer, _, number = mark.partition(".")
            reordered += which == "q" and int(number) < order.get(writer, -1)
            order[writer] = max(order.get(writer, -1), int(number))
        return {
            "lost": 2 * len(acknowledged) - sum((mark, which) in place for mark in acknowledged for which in "qa"),
            "doubled": len(marks) - len(place),
            "split": sum(place[mark, "a"] != place[mark, "q"] + 1 for mark in kept),
            "reordered": reordered,
        }

    async def fill(self, sessions: int, turns: int) -> dict[str, float]:
        """Fill the database, let it come to rest and close it; return what a message takes on the disk."""
        before = self._bytes()
        for at in range(sessions):
            held = await self._side.session(f"fill{at}")
            for number in range(turns):
                await self._side.append(held, *turn(f"{at}.{number}"))
        await self._come_to_rest()
        await self._side.close()
        return {"bytes": (self._bytes() - before) / (2 * sessions * turns), "mib": resident_mib()}

    async def _come_to_rest(self) -> None:
        """Wait until nothing more is written, such as by a search index."""
        until = time.monotonic() + LONGEST_SETTLING_SECONDS
        size, since = self._bytes(), time.monotonic()
        while time.monotonic() < min(until, since + SETTLED_SECONDS):
            await asyncio.sleep(0.1)
            if self._bytes() != size:
                size, since = self._bytes(), time.monotonic()

    def _bytes(self) -> int:
        file = Path(self._place)
        return sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*"))

    async def close(self) -> dict[str, float]:
        """Close the database; return the memory at the end."""
        await self._side.close()
        return {"mib": resident_mib()}


async def main() -> None:
    """Serve until the input ends."""
    engine, name, place = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    worker = Worker(engine, name, place)
    while line := sys.stdin.readline():
        request = json.loads(line)
        try:
            answer = {"done": await getattr(worker, request.pop("do"))(**request)}
        except Exception as error:  # noqa: BLE001 -- reported as what became of the request
            answer = {"failed": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)  # some libraries leave threads that never end
