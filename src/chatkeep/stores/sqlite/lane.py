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
from chatkeep.stores.sqlite.forks import Held

Context = TypeVar("Context")
Result = TypeVar("Result")


class Job(NamedTuple, Generic[Context]):
    """A call that waits, and who waits for it."""

    call: Callable[[Context], Any]
    future: asyncio.Future[Any]


class Answer(NamedTuple):
    """What became of a job: a result, or an error."""

    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


def _settle(answers: list[Answer]) -> None:
    for future, result, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class Lane(Held, Generic[Context]):
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
        super().__init__()
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
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        with self._gate:
            if self._closed:
                raise Unavailable(CLOSED)
            self._queue.put(Job(call, future))
        return await future

    async def close(self) -> None:
        """Let everything that waits be done, then end the thread. Repeatable."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def give_up(self) -> None:
        self._gate = threading.Lock()  # somebody may have had it, who is not here any more
        self._closed = True

    @staticmethod
    def settle(answers: list[Answer]) -> None:
        """Hand answers to those who wait, once for each event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Answer]] = {}
        for answer in answers:
            by_loop.setdefault(answer.future.get_loop(), []).append(answer)
        for loop, mine in by_loop.items():
            with contextlib.suppress(RuntimeError):  # a closed loop has nobody left who waits
                loop.call_soon_threadsafe(_settle, mine)

    def _take(self) -> list[Job[Context]] | None:
        """Return what waits, at most `most` jobs; nothing when it was time to be idle; None to end."""
        try:
            job = self._queue.get(timeout=self._idle_seconds())
        except queue.Empty:
            return []
        jobs: list[Job[Context]] = []
        while job is not None:
            if not job.future.done():  # otherwise its caller was cancelled
                jobs.append(job)
            if len(jobs) == self._most or self._queue.empty():
                return jobs
            job = self._queue.get()
        if not jobs:
            return None
        self._queue.put(None)  # the end is found again by the next round
        return jobs

    def _run(self) -> None:
        try:
            while (jobs := self._take()) is not None:
                if jobs:
                    self._work(jobs)
                    jobs.clear()  # an idle thread holds nothing of what was asked and told
                elif self._idle is not None:
                    self._idle()
        finally:
            self._end()
