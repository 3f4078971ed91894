"""The memory store under the suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock
from chatkeep.stores.memory import MemoryStore, Tables
from chatkeep.testing.harness import DriverFault


class MemoryHarness:
    """Tables in this process, behind any number of handles."""

    def __init__(self, engine: type[MemoryStore] = MemoryStore) -> None:
        self._engine = engine
        self._tables = Tables()

    async def open(self, clock: Clock) -> MemoryStore:
        return self._engine(clock, tables=self._tables)

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        rows = self._tables.shelves[scope][session_id].rows
        rows[seq] = rows[seq]._replace(body=rows[seq].body + b"?")

    async def rows(self) -> Sequence[bytes]:
        return list(self._rows())

    def _rows(self) -> Iterator[bytes]:
        for shelves in self._tables.shelves.values():
            for shelf in shelves.values():
                yield str(shelf.record).encode()
                for row in shelf.rows.values():
                    yield row.body + (row.feedback_json or "").encode()
                yield from shelf.keys
                yield from (state.value for state in shelf.states.values())
        for runs in self._tables.runs.values():
            for stored in runs.values():
                yield stored.run.request.encode()
                yield from (body.encode() for body in stored.events.values())

    def leaks(self) -> Sequence[str]:
        return []

    def driver_errors(self) -> Sequence[DriverFault]:
        return []
