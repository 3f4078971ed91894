"""What the suite needs to know about an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from chatkeep.domain.errors import StoreError
from chatkeep.domain.scope import Scope
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import Maintenance, Store


class AnyStore(Store, Maintenance, Protocol):
    """Both sides of an engine."""


class DriverFault(NamedTuple):
    """One way in which the engine's driver fails, and what callers see of it."""

    name: str
    provoke: Callable[[], Awaitable[object]]
    """Makes the driver fail inside a call of the store, and lets the store's error out."""
    expected: type[StoreError]


class StoreHarness(Protocol):
    """One empty database. A new harness sees nothing of an earlier one."""

    async def open(self, clock: Clock) -> AnyStore:
        """Return a new handle to this database, as another process would get it. The suite closes it."""

    async def corrupt(self, scope: Scope, session_id: str, seq: int) -> None:
        """Damage the stored body of one message behind the store's back, so that it cannot be decoded."""

    async def rows(self) -> Sequence[bytes]:
        """Return every raw row of sessions, messages, keys, state, runs and events (and search entries), one by one.

        The bytes may be any dump that shows stored text and bodies as they are. None are left once everything is
        purged and swept; what an engine keeps for a scope itself, such as its version, does not count.
        """

    def leaks(self) -> Sequence[str]:
        """Name the connections, threads, tasks and files that all closed handles have left behind."""

    def driver_errors(self) -> Sequence[DriverFault]:
        """Return the faults of the driver that can be provoked; none only for an engine without a driver."""
