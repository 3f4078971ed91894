"""Repeating what failed for the moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chatkeep.domain.errors import StoreError

T = TypeVar("T")

ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 5.0


async def retried(call: Callable[[], Awaitable[T]], *, attempts: int = ATTEMPTS) -> T:
    """Return the result of `call`, repeated after temporary store errors with growing, jittered waits.

    `call` must be repeatable, as every call of the store contract is. The last error is raised as it is.
    """
    wait = FIRST_WAIT_SECONDS
    for _ in range(attempts - 1):
        try:
            return await call()
        except StoreError as error:
            if not error.is_temporary:
                raise
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 -- spreads load, guards nothing
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)
    return await call()
