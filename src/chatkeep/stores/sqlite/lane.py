"""A thread that works for event loops: calls wait in a queue, and are answered in batches."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.sqlite.errors import CLOSED

Context = TypeVar("Context")
Result = TypeVar("Result")


class Job(NamedTuple, Generic[Context]):
    """A call that waits, and who waits for it."""

    call: Callable[[Context], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Answer(NamedTuple):
    """What became of a job: a result, or an error."""

    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any
    error: BaseException | None


def _settle(answers: list[Answer]) -> None:
    for future, _, result, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class Lane(Generic[Context]):
    """Runs jobs one batch after the other in a thread of its own. Futures of any number of event loops may wait.

    `work` gets the jobs of a batch and answers them with `settle`; `idle` is called when nothing has come for
    `idle_seconds()`, unless that is None; `end` is the last thing the thread does.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[Job[Context]]], None],
        *,
        end: Callable[[], None],
        most: int,
        idle: Callable[[], None] | None = None,
        idle_seconds: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._work = work
        self._end = end
        self._idle = idle
        self._idle_seconds = idle_seconds
        self._most = most
        self._queue: queue.SimpleQueue[Job[Context] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, call: Callable[[Context], Result]) -> Result:
        """Run `call` in the thread and return what it returns. Cancelled, it may run all the same."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        with self._gate:
            if self._closed:
                raise Unavailable(CLOSED)
            self._queue.put(Job(call, future, loop))
        return await future

    async def close(self) -> None:
        """Let everything that waits be done, then end the thread. Repeatable."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    @staticmethod
    def settle(answers: list[Answer]) -> None:
        """Hand answers to those who wait, once for each event loop."""
        while answers:
            loop = answers[0].loop
            mine = [answer for answer in answers if answer.loop is loop]
            with contextlib.suppress(RuntimeError):  # a closed loop has nobody left who waits
                loop.call_soon_threadsafe(_settle, mine)
            answers = [answer for answer in answers if answer.loop is not loop] if len(mine) < len(answers) else []

    def _take(self) -> list[Job[Context]] | None:
        """Return what waits, at most `most` jobs; nothing when it was time to be idle; None to end."""
        try:
            first = self._queue.get(timeout=self._idle_seconds())
        except queue.Empty:
            return []
        jobs = [] if first is None else [first]
        ending = first is None
        while not ending and len(jobs) < self._most:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)  # to be found again by the next round
                break
            jobs.append(job)
        return None if ending else [job for job in jobs if not job.future.done()]

    def _run(self) -> None:
        try:
            while (jobs := self._take()) is not None:
                if jobs:
                    self._work(jobs)
                elif self._idle is not None:
                    self._idle()
        finally:
            self._end()
