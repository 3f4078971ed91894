"""An event loop for code without `async`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Self, TypeVar

from chatkeep.domain.errors import NotSupported, Unavailable
from chatkeep.keep.opened import FORKED

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, from `with` to its end."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._work, name="chatkeep", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_inherited:
            return
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one that has the thread."""
        return os.getpid() != self._pid

    def _work(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._end.wait()

    def start(self, begin: Callable[[], Awaitable[T]]) -> Future[T]:
        """Run what `begin` gives there and return at once.

        Raises Unavailable once it is closed, NotSupported in a process that was forked.
        """
        if self.is_inherited:
            raise NotSupported(FORKED)
        loop = self._loop
        if loop is None:
            raise Unavailable("this Chatkeep is closed; open it again")
        return asyncio.run_coroutine_threadsafe(_awaited(begin), loop)

    def run(self, begin: Callable[[], Awaitable[T]]) -> T:
        """Run what `begin` gives there and wait for its result; an interrupt of the waiting thread cancels it.

        Raises Unavailable once it is closed, NotSupported when it is called from there or in a process that was forked.
        """
        if threading.current_thread() is self._thread:
            raise NotSupported("a callback cannot wait for Chatkeep, which waits for it; make the call when it is over")
        future = self.start(begin)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _awaited(begin: Callable[[], Awaitable[T]]) -> T:
    return await begin()
