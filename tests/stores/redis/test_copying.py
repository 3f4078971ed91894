"""Conversations move into this engine and out of it."""

from __future__ import annotations

from tests.copies import there_and_back
from tests.stores.redis.conftest import RedisHarness


async def test_what_is_copied_there_and_back_is_the_same(harness: RedisHarness) -> None:
    await there_and_back(harness)
