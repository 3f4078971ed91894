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
        jittered = wait * random.uniform(1.0, 1.5)  # noqa: S311 -- spreads load, guards nothing
        await asyncio.sleep(min(jittered, LONGEST_WAIT_SECONDS))
        wait *= 2
    return await call()
