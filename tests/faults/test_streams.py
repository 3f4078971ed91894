"""Streams that are cut anywhere and resumed anywhere, and answers that are stopped."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import Service
from tests.faults.scale import LONG, scaled, tell
from tests.faults.web import APP, Listener, ask, messages, serving, text_of

CLIENTS = scaled(80, 1_000)
CANCELS = scaled(40, 500)
AT_ONCE = 20
STREAM_BYTES = 14_000
STOP_SECONDS = 0.5 if LONG else 2.0
"""What the 99th percentile is held to; the short form shares its processor with other tests."""

QUESTION = " ".join(f"wört{at} 🦆" for at in range(60))


class Forgetful(Listener):
    """Takes all that a resumed stream sends as new, wherever it belongs."""

    def hear(self, offset: int, text: str) -> None:
        """Put words behind those that are there."""
        assert offset >= 0
        self.text += text


async def _cut_and_resumed(
    listener: Listener, at: int, workers: Sequence[Service], chance: random.Random
) -> tuple[str, str]:
    """Follow an answer over cuts at random bytes, half of it on another worker; return what was heard and kept."""
    session = f"s{at}"
    first = workers[at % 2].port
    question = {"message": QUESTION}
    await listener.listen(
        first, "POST", f"{APP}/sessions/{session}/chat", question, most=chance.randrange(1, STREAM_BYTES)
    )
    if not listener.run_id:  # cut before the first block was whole: the run is found through the session
        listener.run_id = await _run_of(first, session)
    while not listener.outcome:
        resumed_on = workers[(at + at // 2) % 2].port
        await listener.resume(resumed_on, most=chance.choice((None, chance.randrange(1, STREAM_BYTES))))
    _, answer = await messages(first, session)
    return listener.text, text_of(answer)


async def _run_of(port: int, session: str) -> str:
    while True:
        run_id: str | None = (await ask(port, "GET", f"{APP}/sessions/{session}"))["active_run_id"]
        if run_id is not None:
            return run_id
        await asyncio.sleep(0.01)


async def _all(folder: Path, make: type[Listener]) -> tuple[list[tuple[str, str]], list[Listener]]:
    chance = random.Random(5)  # noqa: S311 -- spreads the cuts
    gate = asyncio.Semaphore(AT_ONCE)
    listeners = [make() for _ in range(CLIENTS)]
    with serving(folder, {"CHATKEEP_ECHO_WORDS_PER_SECOND": "200"}, 2) as workers:

        async def one(at: int) -> tuple[str, str]:
            async with gate:
                return await _cut_and_resumed(listeners[at], at, workers, chance)

        return await asyncio.gather(*(one(at) for at in range(CLIENTS))), listeners


async def test_streams_that_are_cut_anywhere_are_heard_to_the_last_byte(tmp_path: Path) -> None:
    results, listeners = await _all(tmp_path, Listener)
    cuts = sum(listener.cuts for listener in listeners)
    tell("streams", clients=CLIENTS, cuts=cuts, different=sum(heard != kept for heard, kept in results))

    assert [heard for heard, _ in results] == [kept for _, kept in results]
    assert all(kept.endswith(QUESTION) for _, kept in results)
    assert {listener.outcome["status"] for listener in listeners} == {"complete"}
    assert cuts >= CLIENTS / 2


async def test_a_client_that_takes_everything_for_new_is_caught(tmp_path: Path) -> None:
    results, _ = await _all(tmp_path, Forgetful)

    assert sum(heard != kept for heard, kept in results) > CLIENTS / 10


@dataclass
class Stopped:
    """An answer that was stopped: how long it took, what was heard before and what is kept."""

    seconds: float
    heard: str
    kept: str
    outcomes: tuple[str, str]


async def _stop(at: int, workers: Sequence[Service], chance: random.Random) -> Stopped:
    """Stop an answer at some moment, every other time through another worker than the one that writes it."""
    listener = Listener()
    port, session = workers[at % 2].port, f"s{at}"
    path, question = f"{APP}/sessions/{session}/chat", {"message": QUESTION}
    listening = asyncio.create_task(listener.listen(port, "POST", path, question))
    await asyncio.sleep(chance.uniform(0.05, 1.5))
    await listener.begun.wait()
    heard = listener.text
    begun = time.perf_counter()
    await ask(workers[(at // 2) % 2].port, "POST", f"{APP}/runs/{listener.run_id}/cancel")
    await listening
    seconds = time.perf_counter() - begun
    _, answer = await messages(port, session)
    return Stopped(seconds, heard, text_of(answer), (listener.outcome["status"], answer["status"]))


async def test_an_answer_that_is_stopped_ends_soon_and_keeps_what_was_said(tmp_path: Path) -> None:
    chance = random.Random(9)  # noqa: S311 -- spreads the moments
    gate = asyncio.Semaphore(5)
    with serving(tmp_path, {"CHATKEEP_ECHO_WORDS_PER_SECOND": "20"}, 2) as workers:

        async def one(at: int) -> Stopped:
            async with gate:
                return await _stop(at, workers, chance)

        stopped = await asyncio.gather(*(one(at) for at in range(CANCELS)))

    seconds = sorted(each.seconds for each in stopped)
    p50, p99 = seconds[CANCELS // 2], seconds[int(CANCELS * 0.99)]
    tell("cancels", count=CANCELS, p50_ms=round(p50 * 1_000), p99_ms=round(p99 * 1_000))

    assert {each.outcomes for each in stopped} == {("cancelled", "cancelled")}
    assert all(each.kept.startswith(each.heard) for each in stopped)
    assert all(len(each.kept) < len(QUESTION) for each in stopped), "the control: left alone, it would say it all"
    assert p99 <= STOP_SECONDS
