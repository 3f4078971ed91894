from __future__ import annotations

import asyncio

import pytest

from chatkeep.domain.errors import ChatkeepError, CorruptRecord, NotFound, Timeout, Unavailable
from chatkeep.services.retrying import retried


class Flaky:
    """A call that raises what it is given, one after the other, and then returns."""

    def __init__(self, *errors: ChatkeepError) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were asked for, none of which is waited for."""
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return asked


async def test_a_call_that_succeeds_is_made_once(waits: list[float]) -> None:
    call = Flaky()

    assert await retried(call) == "done"
    assert (call.calls, waits) == (1, [])


async def test_temporary_errors_are_repeated_with_growing_waits(waits: list[float]) -> None:
    call = Flaky(Unavailable("away"), Timeout("unknown"))

    assert await retried(call) == "done"
    assert call.calls == 3
    assert 0.5 <= waits[0] <= 0.75
    assert 1.0 <= waits[1] <= 1.5


async def test_after_three_attempts_the_last_error_is_raised(waits: list[float]) -> None:
    call = Flaky(Unavailable("1"), Unavailable("2"), Unavailable("3"))

    with pytest.raises(Unavailable, match="3"):
        await retried(call)

    assert (call.calls, len(waits)) == (3, 2)


async def test_no_wait_is_longer_than_five_seconds(waits: list[float]) -> None:
    call = Flaky(*[Unavailable("away")] * 9)

    await retried(call, attempts=10)

    assert max(waits) <= 5.0


@pytest.mark.parametrize("error", [NotFound("session", "s"), CorruptRecord("bad row")])
async def test_what_a_repeat_cannot_heal_is_raised_at_once(waits: list[float], error: ChatkeepError) -> None:
    call = Flaky(error)

    with pytest.raises(type(error)):
        await retried(call)

    assert (call.calls, waits) == (1, [])
