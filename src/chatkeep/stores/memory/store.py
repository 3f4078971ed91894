"""The engine as a whole."""

from __future__ import annotations

from chatkeep.domain.pages import Receipt
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock, system_clock
from chatkeep.stores.memory.log import MemoryLog
from chatkeep.stores.memory.maintenance import MemoryMaintenance
from chatkeep.stores.memory.sessions import MemoryStates
from chatkeep.stores.memory.tables import Tables

DEFAULT_MAX_BYTES = 256 * 1024 * 1024


class MemoryStore(MemoryLog, MemoryStates, MemoryMaintenance):
    """The whole contract in one process, lost with it. For one event loop.

    Beyond about `max_bytes` it raises Unavailable. Stores that are given the same `tables` share their sessions.
    """

    def __init__(
        self,
        clock: Clock = system_clock,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        tables: Tables | None = None,
    ) -> None:
        super().__init__(clock, Tables() if tables is None else tables, max_bytes)

    @property
    def engine(self) -> str:
        return "memory"

    async def erase_scope(self, scope: Scope) -> Receipt:
        shelves = list(self._open().shelves.get(scope, {}).values())
        return sum((self._discard(scope, shelf) for shelf in shelves), Receipt({}))

    async def ping(self) -> None:
        self._open()

    async def close(self) -> None:
        self._closed = True
