"""Many clients in several processes append to many sessions of a store and read them."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import time
from pathlib import Path

from tests.faults.history import SESSIONS, Final, Note, client
from tests.faults.processes import quickly_started
from tests.faults.reading import whole
from tests.faults.scale import scaled

from chatkeep.domain.messages import Message
from chatkeep.engines import open_store
from chatkeep.ports.store import Store
from chatkeep.testing.calls import ALICE, say

PROCESSES = 2
CLIENTS = 32
WINDOW = 20

SECONDS = scaled(10, 600, ci=60)
"""How long they do so on one product of each engine."""
SECONDS_ELSEWHERE = scaled(10, 600)
"""How long on each further one."""


class Stored:
    """The store."""

    def __init__(self, store: Store) -> None:
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


def work(url: str, process: int, until: float, notes: str) -> None:
    """Run a share of the clients in a process of its own and write what happened."""

    async def run() -> list[Note]:
        store = (await open_store(url)).store
        names = [f"{process}-{at}" for at in range(CLIENTS // PROCESSES)]
        done = await asyncio.gather(*(client(name, Stored(store), until) for name in names))
        await store.close()
        return list(itertools.chain.from_iterable(done))

    Path(notes).write_bytes(pickle.dumps(asyncio.run(run())))


async def _final(url: str) -> Final:
    store = (await open_store(url)).store
    final = {}
    for name in (f"s{at}" for at in range(SESSIONS)):
        final[name] = [(message.seq, message.text) for message in await whole(store, name)]
    await store.close()
    return final


def list_append(url: str, folder: Path, *, seconds: float) -> tuple[list[Note], Final]:
    """Return what all clients have noted, and what is stored in the end."""
    context = quickly_started()
    until = time.monotonic() + seconds
    files = [folder / f"notes-{at}" for at in range(PROCESSES)]
    workers = [context.Process(target=work, args=(url, at, until, str(file))) for at, file in enumerate(files)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"the processes ended with {[worker.exitcode for worker in workers]}")
    notes = itertools.chain.from_iterable(pickle.loads(file.read_bytes()) for file in files)  # noqa: S301 -- our own
    return list(notes), asyncio.run(_final(url))
