"""Stores that are open in this process, each once, however many adapters and event loops use it.

A store lives in a thread with an event loop of its own. So it serves code in any event loop, one after the other as
with several `asyncio.run`, and what has been asked of it comes to its end even when the caller is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeVar

from chatkeep.keep import Chatkeep
from chatkeep.keep.loop import LoopThread

T = TypeVar("T")


class Shared(NamedTuple):
    """An open store, and where it lives."""

    keep: Chatkeep
    loop: LoopThread

    async def change(self, begin: Callable[[Chatkeep], Awaitable[T]]) -> T:
        """Do what `begin` gives. A cancellation is raised when the outcome is known, and never leaves it half done."""
        future = asyncio.wrap_future(self.loop.start(lambda: begin(self.keep)))
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            future.exception()
            raise cancelled
        return future.result()

    async def look(self, begin: Callable[[Chatkeep], Awaitable[T]]) -> T:
        """Do what `begin` gives, which changes nothing; a cancellation ends it at once."""
        return await asyncio.wrap_future(self.loop.start(lambda: begin(self.keep)))


class _Entry:
    """A store, opened by the first user and closed by the last."""

    def __init__(self, url: str, retention: str) -> None:
        self.users = 0
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.shared: Shared | None = None
        self._url = url
        self._retention = retention
        self._stack = ExitStack()

    def open(self) -> Shared:
        with self.lock:
            if self.shared is None:
                with ExitStack() as stack:
                    loop = stack.enter_context(LoopThread())
                    keep = stack.enter_context(_opened(loop, self._url, self._retention))
                    self._stack = stack.pop_all()
                self.shared = Shared(keep, loop)
            return self.shared

    def close(self) -> None:
        with self.lock:
            self._stack.close()
            self.shared = None


@contextmanager
def _opened(loop: LoopThread, url: str, retention: str) -> Iterator[Chatkeep]:
    opening = Chatkeep.open(url, retention=retention)
    keep = loop.run(opening.__aenter__)
    try:
        yield keep
    finally:
        loop.run(lambda: opening.__aexit__(None, None, None))


_entries: dict[tuple[int, str, str], _Entry] = {}
_gate = threading.Lock()


class Handle:
    """One user's hold on a store. It is opened at the first `get`; the last handle that is closed closes it."""

    def __init__(self, url: str, retention: str) -> None:
        self._key = (url, retention)
        self._entry: _Entry | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def get(self) -> Shared:
        """Return the store, opened now if need be. Raises RuntimeError once it is closed, and as `Chatkeep.open`."""
        with self._lock:
            if self._closed:
                raise RuntimeError("this session is closed; make another")
            if self._entry is not None and self._entry.pid != os.getpid():
                self._entry = None  # this is a fork: the store's threads stayed behind
            if self._entry is None:
                with _gate:
                    entry = _entries.setdefault((os.getpid(), *self._key), _Entry(*self._key))
                    entry.users += 1
                self._entry = entry
            return self._entry.open()

    def close(self) -> None:
        """Let go of the store. Repeatable."""
        with self._lock:
            self._closed = True
            entry, self._entry = self._entry, None
        if entry is None or entry.pid != os.getpid():
            return
        with _gate:
            entry.users -= 1
            last = entry.users == 0
            if last:
                _entries.pop((entry.pid, *self._key), None)
        if last:
            entry.close()
