"""What all parts of the store stand on: a clock, a writer and readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chatkeep.domain.pages import Receipt
from chatkeep.ports.clock import Clock
from chatkeep.stores.sqlite.connection import Database
from chatkeep.stores.sqlite.reader import Reader
from chatkeep.stores.sqlite.removal import STEP_ROWS, remove_some
from chatkeep.stores.sqlite.writer import Writer

Result = TypeVar("Result")


class Engine:
    """The threads of an open database. `reader` takes short reads, `searcher` long ones; both None: the writer does."""

    def __init__(self, clock: Clock, writer: Writer, reader: Reader | None, searcher: Reader | None) -> None:
        self._clock = clock
        self._writer = writer
        self._reader = reader
        self._searcher = searcher
        self._write = writer.call

    async def _read(self, call: Callable[[Database], Result]) -> Result:
        if self._reader is None:
            return await self._writer.call(lambda write: call(write.db))
        return await self._reader.call(call)

    async def _search(self, call: Callable[[Database], Result]) -> Result:
        if self._searcher is None:
            return await self._writer.call(lambda write: call(write.db))
        return await self._searcher.call(call)

    async def _empty_grave(self, session_key: int) -> Receipt:
        """Remove what is left of a buried session, step by step, and return what it was."""
        receipt = Receipt({})
        while True:
            removed = await self._write(lambda write: remove_some(write, session_key, STEP_ROWS))
            if removed is None:
                return receipt
            receipt += removed
