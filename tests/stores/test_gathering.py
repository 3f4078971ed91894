"""Questions go together while one is under way, and none suffers for another one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chatkeep.domain.errors import StoreError, Unavailable
from chatkeep.stores.gathering import Gathering


class Database:
    """Answers with tenfold the question, when it is let."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.open = asyncio.Event()
        self.busy = asyncio.Event()
        """Set when it is asked something while it answers something else."""
        self.refused: dict[int, Exception] = {}

    async def ask(self, asked: Sequence[int]) -> Sequence[int]:
        self.asked.append(list(asked))
        if len(self.asked) > 1:
            self.busy.set()
        await self.open.wait()
        for one in asked:
            if one in self.refused:
                raise self.refused[one]
        return [10 * one for one in asked]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def gathering(database: Database) -> Gathering[int, int]:
    return Gathering(database.ask, most=3, patience_seconds=60)


async def _under_way(gathering: Gathering[int, int], *questions: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(gathering.ask(question)) for question in questions]
    await asyncio.sleep(0)
    return tasks


async def test_what_is_asked_meanwhile_goes_together_and_no_more_than_so_many(
    database: Database, gathering: Gathering[int, int]
) -> None:
    tasks = await _under_way(gathering, 1, 2, 3, 4, 5)
    assert database.asked == [[1]]

    database.open.set()

    assert await asyncio.gather(*tasks) == [10, 20, 30, 40, 50]
    assert database.asked == [[1], [2, 3, 4], [5]]
    assert await gathering.ask(6) == 60
    assert database.asked[-1] == [6]


async def test_after_a_while_the_next_go_beside_what_is_under_way(database: Database) -> None:
    gathering = Gathering(database.ask, most=3, patience_seconds=0.01)
    tasks = await _under_way(gathering, 1, 2, 3)

    await asyncio.wait_for(database.busy.wait(), 5)

    assert database.asked == [[1], [2, 3]]
    database.open.set()
    assert await asyncio.gather(*tasks) == [10, 20, 30]


async def test_what_one_is_refused_for_spoils_no_other(database: Database, gathering: Gathering[int, int]) -> None:
    database.refused[3] = StoreError("not this one")
    tasks = await _under_way(gathering, 1, 2, 3, 4)
    database.open.set()

    assert await asyncio.gather(*tasks, return_exceptions=True) == [10, 20, database.refused[3], 40]


async def test_a_database_that_is_away_is_asked_once(database: Database, gathering: Gathering[int, int]) -> None:
    database.refused[3] = Unavailable("away")
    tasks = await _under_way(gathering, 1, 2, 3, 4)
    database.open.set()

    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert found == [10, database.refused[3], database.refused[3], database.refused[3]]
    assert database.asked == [[1], [2, 3, 4]]


async def test_who_has_left_is_not_asked_for(database: Database, gathering: Gathering[int, int]) -> None:
    first, second, third = await _under_way(gathering, 1, 2, 3)
    second.cancel()
    await asyncio.sleep(0)
    database.open.set()

    assert (await first, await third) == (10, 30)
    assert database.asked == [[1], [3]]


async def test_the_first_that_leaves_lets_the_others_go_on(database: Database, gathering: Gathering[int, int]) -> None:
    first, second = await _under_way(gathering, 1, 2)
    first.cancel()
    await asyncio.sleep(0)
    database.open.set()

    assert await second == 20
    assert first.cancelled()
