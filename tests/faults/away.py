"""A service whose database is away for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import httpx
from tests.faults.databases import Server
from tests.faults.scale import scaled
from tests.faults.web import serving

AWAY_SECONDS = scaled(6, 60)
BEFORE_SECONDS = 1.5
MOST_REFUSAL_SECONDS = 2.5
MOST_RECOVERY_SECONDS = 5.0
_CLIENTS = 12
_AFTER_SECONDS = MOST_RECOVERY_SECONDS + 1


class Reply(NamedTuple):
    """The answer to one request. `at` and `seconds`: when it was sent, on the monotonic clock, and how long it took."""

    at: float
    seconds: float
    status: int
    retry_after: str | None


class Outcome(NamedTuple):
    """What the clients were told before, while the database was away, and after."""

    before: list[Reply]
    away: list[Reply]
    recovery_seconds: float
    is_running: bool

    @property
    def slow_refusal_seconds(self) -> float:
        """The 99th percentile of how long a refusal took."""
        times = sorted(reply.seconds for reply in self.away)
        return times[int(len(times) * 0.99)]


async def while_away(folder: Path, settings: Mapping[str, str], server: Server) -> Outcome:
    """Send requests to a service on `server`, which crashes, and comes back after AWAY_SECONDS."""
    with serving(folder, settings) as (service,):
        replies: list[Reply] = []
        done = asyncio.Event()

        async def client(http: httpx.AsyncClient, number: int) -> None:
            at = 0
            while not done.is_set():
                path = f"{service.app}/sessions"
                sent = time.monotonic()
                if at % 2:
                    reply = await http.get(path)
                else:
                    reply = await http.post(path, json={"title": f"{number} {at}"})
                took = time.monotonic() - sent
                replies.append(Reply(sent, took, reply.status_code, reply.headers.get("Retry-After")))
                at += 1
                await asyncio.sleep(0.02)

        async with httpx.AsyncClient(timeout=30) as http, asyncio.TaskGroup() as tasks:
            for number in range(_CLIENTS):
                tasks.create_task(client(http, number))
            await asyncio.sleep(BEFORE_SECONDS)
            gone = time.monotonic()
            await asyncio.to_thread(server.crash)
            crashed = time.monotonic()
            await asyncio.sleep(AWAY_SECONDS)
            starting = time.monotonic()
            await asyncio.to_thread(server.start)
            back = time.monotonic()
            await asyncio.sleep(_AFTER_SECONDS)
            done.set()
        is_running = service.process is not None and service.process.poll() is None
    before = [reply for reply in replies if reply.at + reply.seconds < gone]
    away = [reply for reply in replies if crashed <= reply.at and reply.at + reply.seconds < starting]
    good = [reply.at + reply.seconds for reply in replies if reply.at > starting and reply.status < 400]
    return Outcome(before, away, min(good, default=float("inf")) - back, is_running)


def check(outcome: Outcome) -> None:
    """Check that nobody was told anything but to come back, in time, and that all was well soon after."""
    assert len(outcome.before) > 10
    assert {reply.status for reply in outcome.before} <= {200, 201}
    assert len(outcome.away) > 10
    assert {reply.status for reply in outcome.away} == {503}
    assert all(reply.retry_after is not None for reply in outcome.away)
    assert outcome.slow_refusal_seconds < MOST_REFUSAL_SECONDS
    assert outcome.recovery_seconds < MOST_RECOVERY_SECONDS
    assert outcome.is_running
