"""Work that goes on to its end though its caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Endings:
    """What is under way. A driver that is cancelled in the midst of a request leaves its connection in any state."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def of(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what `work` returns, or raise what it raises. If the caller is cancelled, it goes on alone."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # that nobody may be there to hear

    async def settled(self) -> None:
        """Wait until all that is under way has ended."""
        if self._under_way:
            await asyncio.wait(self._under_way)
