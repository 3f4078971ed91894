"""What a database must offer: three tables of items, and conditional writes of one item at a time.

An item has a key of two parts and named attributes. All items with the same first part, `pk`, form a partition, in the
order of the bytes of the second, `sk`. Nothing is asked of several items together: no transaction, no batch.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from chatkeep.domain.errors import StoreError

Item = dict[str, Any]
"""The attributes of an item: bytes, text, integers below 2^63, truth values, and lists and dicts of these. Those that
were read have the attributes `pk` and `sk` too.
"""

SESSIONS, LOG, WORK = "sessions", "log", "work"
"""The tables."""

_AT_ONCE = 16
"""Requests of one call that are under way together."""
_ROUNDS_IN_VAIN = 3
_PAUSE_SECONDS = 0.05

Result = TypeVar("Result")
Other = TypeVar("Other")


class Key(NamedTuple):
    """The primary key of an item."""

    pk: bytes
    sk: bytes


class Index(NamedTuple):
    """A second order of the sessions within each partition, by a binary attribute that an item need not have."""

    name: str
    attribute: str


BY_LIST = Index("by_list", "lst")
BY_CHANGE = Index("by_change", "chg")


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold for a write to happen: the item is there, with these values, or it is not there."""

    is_there: bool = True
    equal: Mapping[str, Any] = field(default_factory=dict)


ABSENT = Condition(is_there=False)
PRESENT = Condition()


def unchanged(version: int, incarnation: str) -> Condition:
    """Return the condition that an item is the one that was read."""
    return Condition(equal={"ver": version, "inc": incarnation})


class UpTo(NamedTuple):
    """Admits items whose number `name` is there and at most `most`, and those that have the attribute `or_has`."""

    name: str
    most: int
    or_has: str | None = None


class Tables(Protocol):
    """The tables behind one client. Every call raises the errors of the contract, Unavailable once it is closed.

    Reads are strongly consistent: what a write that returned has written is read, by whatever process.
    """

    async def get(self, table: str, key: Key) -> Item | None:
        """Return an item as of now, None if there is none."""

    async def put(self, table: str, key: Key, item: Item, condition: Condition | None = None) -> None:
        """Write a whole item. Raises Raced."""

    async def update(self, table: str, key: Key, changes: Item, condition: Condition) -> Item:
        """Set some attributes of an item that `condition` finds there, remove those that are None, and return the item
        as it is then. Raises Raced.
        """

    async def count(self, table: str, key: Key) -> None:
        """Add one to the number `n` of an item, which need not exist."""

    async def delete(self, table: str, key: Key, condition: Condition | None = None) -> bool:
        """Remove an item and return whether it was there. Raises Raced."""

    def query(
        self,
        table: str,
        pk: bytes,
        *,
        low: bytes | None = None,
        high: bytes | None = None,
        index: Index | None = None,
        only: tuple[str, ...] | None = None,
        where: UpTo | None = None,
        descending: bool = False,
        page: int | None = None,
    ) -> AsyncIterator[Item]:
        """Yield the items of a partition in order, asking for a page when the one before is used up.

        The sort key, or the attribute of `index`, is within `low` and `high`, both inclusive; with `low` alone it
        begins with it. `only` names the attributes to return, `page` about how many items will be used.
        """

    async def scan(
        self, table: str, only: tuple[str, ...], *, page: int, where: UpTo | None = None, after: Key | None = None
    ) -> tuple[list[Item], Key | None]:
        """Look at up to `page` items of a table behind `after`, in an order of the engine's own; return those that
        `where` admits, and where to go on, None at the end.
        """

    def close(self) -> None:
        """Refuse all further requests."""


def bytes_of(item: Item, name: str) -> bytes:
    """Return a binary attribute."""
    return bytes(item[name])


def int_of(item: Item, name: str) -> int:
    """Return a number attribute."""
    return int(item[name])


def text_of(item: Item, name: str) -> str:
    """Return a text attribute."""
    return str(item[name])


def key_of(item: Item) -> Key:
    """Return the primary key of an item that was read."""
    return Key(bytes_of(item, "pk"), bytes_of(item, "sk"))


async def together(calls: Iterable[Callable[[], Awaitable[Result]]]) -> list[Result]:
    """Make the calls, a few at a time, and return their results in order. All have ended when one's error is raised."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Callable[[], Awaitable[Result]]) -> Result:
        async with gate:
            return await call()

    outcomes = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
    results: list[Result] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results


async def persistently(calls: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Make calls that may be repeated, as `together` does, and those that fail for the moment again until none is left.

    A call of many requests comes through where each of them has a fair chance. Raises the error of one when none has
    come through for three rounds.
    """
    left = list(calls)
    in_vain = 0
    while left:
        failed = [found for found in await together(partial(_tried, call) for call in left) if found is not None]
        in_vain = in_vain + 1 if len(failed) == len(left) else 0
        if in_vain == _ROUNDS_IN_VAIN:
            raise failed[0].error
        left = [found.call for found in failed]
        if left:
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 -- spreads load, guards nothing


class _Failed(NamedTuple):
    call: Callable[[], Awaitable[object]]
    error: StoreError


async def _tried(call: Callable[[], Awaitable[object]]) -> _Failed | None:
    """Make a call and return its temporary error, if it has one."""
    try:
        await call()
    except StoreError as error:
        if not error.is_temporary:
            raise
        return _Failed(call, error)
    return None


async def both(first: Awaitable[Result], second: Awaitable[Other]) -> tuple[Result, Other]:
    """Make two calls at once and return their results. When one's error is raised, both have ended."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other
