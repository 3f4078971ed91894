"""Optimistic writes: read, decide, and write IF nobody has written since; otherwise again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chatkeep.domain.errors import Unavailable

_TRIES = 200
_LONGEST_PAUSE_SECONDS = 0.05

Result = TypeVar("Result")


class Raced(Exception):
    """A condition did not hold: another writer was first. Never leaves the engine."""


async def undisturbed(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Repeat `attempt` until it is not Raced. Raises Unavailable after very many tries."""
    for tried in range(_TRIES):
        try:
            return await attempt()
        except Raced:
            pause = min(_LONGEST_PAUSE_SECONDS, 0.001 * 2 ** min(tried, 10))
            await asyncio.sleep(pause * random.random())  # noqa: S311 -- spreads writers, guards nothing
    raise Unavailable(f"{_TRIES} attempts were overtaken by other writers; try again")
