"""Calls that go together: what is asked while the database is at work is asked with one statement when it is done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from chatkeep.domain.errors import StoreError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Gathering(Generic[Asked, Answer]):
    """Questions of one kind, of which `ask` answers up to `most`, in their order.

    A question that finds nothing under way is asked by its own caller, at once. The others go together as soon as what
    is under way is answered, or has taken `patience_seconds`: then they go beside it. When `ask` cannot reach the
    database, none of them can; anything else that it raises may be the fault of one, so each is asked alone.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]],
        *,
        most: int,
        patience_seconds: float,
    ) -> None:
        self._ask = ask
        self._most = most
        self._patience_seconds = patience_seconds
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._under_way = 0
        self._runs: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, asked: Asked) -> Answer:
        """Return the answer to a question."""
        if not self._under_way:
            self._under_way += 1
            try:
                (answer,) = await self._ask((asked,))
            finally:
                self._under_way -= 1
                if self._waiting:
                    self._go_on()
            return answer
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((asked, waiting))
        if self._timer is None:
            self._timer = loop.call_later(self._patience_seconds, self._go_on)
        return await waiting

    def _go_on(self) -> None:
        """Ask what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._under_way += 1
            run = asyncio.create_task(self._run())
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    async def _run(self) -> None:
        try:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                await self._answer([(asked, waiting) for asked, waiting in together if not waiting.done()])
        finally:
            self._under_way -= 1

    async def _answer(self, wanted: Sequence[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._ask([asked for asked, _ in wanted]) if wanted else ()
        except Exception as error:  # noqa: BLE001 -- it is raised by those who wait for the answer
            if len(wanted) > 1 and not (isinstance(error, StoreError) and error.is_temporary):
                for alone in wanted:
                    await self._answer([alone])
                return
            for _, waiting in wanted:
                if not waiting.done():
                    waiting.set_exception(error)
        else:
            for (_, waiting), answer in zip(wanted, answers, strict=True):
                if not waiting.done():
                    waiting.set_result(answer)
