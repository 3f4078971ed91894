"""Connections that are kept between calls.

The driver's pool starts a task for every connection that is handed out and another one when it comes back, which takes
longer than most statements. So connections stay here once they were fetched from it, and go back when they are broken
or at the end; the pool makes them and closes them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.postgres.errors import CLOSED

WAIT_SECONDS = 5.0
_BUSY = "all connections are busy, or the database cannot be reached; try again"


class Connections:
    """Up to `most` connections, the one that came back last first."""

    def __init__(self, pool: asyncpg.Pool[Any], most: int) -> None:
        self.most = most
        self._pool = pool
        self._free = most
        self._idle: list[Any] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.is_closed = False

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Any]:
        """Give a connection for the length of a block, as `take` does."""
        raw = await self.take()
        try:
            yield raw
        finally:
            await self.give(raw)

    async def give(self, raw: Any) -> None:
        """Take a connection back that `take` has given."""
        if _is_at_rest(raw) and not self.is_closed:
            self._idle.append(raw)
            self._wake()
        else:
            await self._given_back(raw)

    async def take(self) -> Any:
        """Give a connection. Raises Unavailable when none is free for WAIT_SECONDS, and once this is closed."""
        while True:
            if self.is_closed:
                raise Unavailable(CLOSED)
            while self._idle:
                raw = self._idle.pop()
                if _is_at_rest(raw):
                    return raw
                await self._given_back(raw)
            if self._free:
                self._free -= 1
                try:
                    return await self._pool.acquire(timeout=WAIT_SECONDS)
                except BaseException as error:
                    self._let_go()
                    if isinstance(error, TimeoutError):
                        raise Unavailable(_BUSY) from error
                    raise
            await self._turn()

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._wake()  # it came just now, and goes to the next one
            if isinstance(error, TimeoutError):
                raise Unavailable(_BUSY) from error
            raise

    def _let_go(self) -> None:
        self._free += 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _given_back(self, raw: Any) -> None:
        """Give a connection back to the pool; one that is broken, or torn out of a transaction, it forgets."""
        try:
            if not _is_at_rest(raw):
                with contextlib.suppress(asyncpg.InterfaceError):  # the pool has forgotten it already
                    raw.terminate()
            await self._pool.release(raw)
        finally:
            self._let_go()

    async def close(self) -> None:
        """Close all connections, as soon as the calls that have one are done."""
        if self.is_closed:
            return
        self.is_closed = True
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        while self._idle:
            await self._pool.release(self._idle.pop())
        await self._pool.close()


def _is_at_rest(raw: Any) -> bool:
    """Return whether the connection stands, and in no transaction.

    A call that is cancelled again while it is being undone leaves one open, in which the next call would seem to store
    something. The pool has let go of a connection that broke, and then refuses to say.
    """
    try:
        return not (raw.is_closed() or raw.is_in_transaction())
    except asyncpg.InterfaceError:
        return False
