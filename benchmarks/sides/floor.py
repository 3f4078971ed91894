"""The least code that keeps JSON messages in order and lists sessions, on Chatkeep's driver and as durable.

One thread writes and commits whatever waits in one transaction. Reads run where they are called, lists in the thread of
an executor, so that a list costs one hop, as Chatkeep's does. Nothing is checked, nothing can be repeated safely.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw
import orjson

from benchmarks.workload import Said, turn

MOST_AT_ONCE = 512
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions(
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, title TEXT NOT NULL, state INTEGER NOT NULL,
    pinned INTEGER, created INTEGER NOT NULL, modified INTEGER NOT NULL, expires INTEGER, last INTEGER NOT NULL,
    count INTEGER NOT NULL, head INTEGER NOT NULL, run TEXT, revision INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS recent ON sessions(user, modified DESC);
CREATE TABLE IF NOT EXISTS messages(key INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
_BUMP = (
    "INSERT INTO sessions VALUES(NULL, ?1, 'u', '', 0, NULL, ?2, ?2, NULL, ?3, ?3, ?3, NULL, 1, '{}') ON CONFLICT(id) "
    "DO UPDATE SET last = last + ?3, count = count + ?3, head = last + ?3, modified = ?2 RETURNING key, last"
)
_INSERT = "INSERT INTO messages VALUES(?, ?)"
_FIND = "SELECT key << 32, key + 1 << 32 FROM sessions WHERE id = ?"
_READ = "SELECT body FROM messages WHERE key > ? AND key < ? ORDER BY key"
_NEWEST = f"{_READ} DESC LIMIT ?"
_RECENT = "SELECT * FROM sessions WHERE user = ? ORDER BY modified DESC LIMIT ?"

Job = tuple[str, list[bytes], "asyncio.Future[None]"]


def _connect(file: str) -> apsw.Connection:
    connection = apsw.Connection(file)
    connection.set_busy_timeout(30_000)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    return connection


class Floor:
    """Two tables, two connections, one thread that writes."""

    has_lists = True

    async def open(self, place: str) -> None:
        self._reader = _connect(place)
        self._writer = _connect(place)
        self._writer.execute(_SCHEMA)
        self._loop = asyncio.get_running_loop()
        self._hop = ThreadPoolExecutor(1)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            while len(jobs) < MOST_AT_ONCE and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    self._jobs.put(None)
                    break
                jobs.append(more)
            self._writer.execute("BEGIN IMMEDIATE")
            for session, bodies, _ in jobs:
                _put(self._writer, session, bodies)
            self._writer.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, [future for _, _, future in jobs])

    async def session(self, name: str) -> str:
        return name

    async def append(self, session: str, question: str, answer: str) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((session, [_body("user", question), _body("assistant", answer)], future))
        await future

    async def newest(self, session: str, count: int) -> list[Said]:
        return self._said(_NEWEST, session, count)[::-1]

    async def everything(self, session: str) -> list[Said]:
        return self._said(_READ, session)

    def _said(self, query: str, session: str, *more: int) -> list[Said]:
        bounds: list[Any] = self._reader.execute(_FIND, (session,)).fetchall()
        found: list[Any] = self._reader.execute(query, (*bounds[0], *more)).fetchall() if bounds else []
        return [Said(said["role"], said["text"]) for (body,) in found for said in (orjson.loads(body),)]

    async def seed(self, name: str, turns: int) -> None:
        said = [turn(f"{name}.seed{at}") for at in range(turns)]
        with self._reader:
            _put(self._reader, name, [body for both in said for body in map(_body, ("user", "assistant"), both)])

    async def seed_list(self, user: str, count: int) -> None:
        with self._reader:
            self._reader.executemany(
                "INSERT INTO sessions VALUES(NULL, ?, ?, ?, 0, NULL, ?, ?, NULL, 0, 0, 0, NULL, 1, '{}')",
                [(f"{user}.{at}", user, f"Session {at}", at, at) for at in range(count)],
            )

    async def recent(self, user: str, count: int) -> int:
        def fetch() -> int:
            return len(self._reader.execute(_RECENT, (user, count)).fetchall())

        return await self._loop.run_in_executor(self._hop, fetch)

    async def hop(self) -> None:
        """Do nothing in the executor's thread."""
        await self._loop.run_in_executor(self._hop, _nothing)

    async def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._hop.shutdown()
        self._reader.close()
        self._writer.close()


def _nothing() -> None:
    return


def _body(role: str, text: str) -> bytes:
    return orjson.dumps({"role": role, "text": text})


def _put(db: apsw.Connection, session: str, bodies: list[bytes]) -> None:
    bumped: Any = db.execute(_BUMP, (session, time.time_ns(), len(bodies))).fetchall()
    key, last = bumped[0]
    first = (key << 32) + last - len(bodies) + 1
    db.executemany(_INSERT, [(first + at, body) for at, body in enumerate(bodies)])


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
