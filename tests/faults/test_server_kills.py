"""The whole service is killed under many chats: questions stay, answers end, at most a moment of their text is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.conftest import Service
from tests.faults.scale import scaled, tell
from tests.faults.web import APP, Gone, Listener, ask, messages, serving, text_of

KILLS = scaled(6, 300)
KILLS_BEFORE_A_REST = scaled(6, 15)
CHATTERS = 8
WORDS_PER_SECOND = 100
ENDS_WITHIN_SECONDS = 20
UNSAVED_SECONDS = 0.25 + 0.25
"""What may be lost: the words that wait to be stored, and those of the batch that is being stored."""

ENDS = {"complete", "cancelled", "failed", "interrupted"}
PROFILE = {"CHATKEEP_MODEL": "echo", "CHATKEEP_ECHO_WORDS_PER_SECOND": str(WORDS_PER_SECOND)}


@dataclass
class Chat:
    """A question in a session of its own, and what its asker learned of it."""

    session: str
    question: str
    listener: Listener = field(default_factory=Listener)

    @property
    def acknowledged(self) -> bool:
        """Whether the service has said that it has the question."""
        return bool(self.listener.run_id)


async def _chatter(name: int, service: Service, chats: list[Chat], over: asyncio.Event) -> None:
    """Ask one question after the other, whatever becomes of the service."""
    chance = random.Random(name)  # noqa: S311 -- spreads the lengths
    at = 0
    while not over.is_set():
        words = " ".join(f"word{number}" for number in range(chance.randrange(5, 400)))
        chat = Chat(f"c{name}-{at}", f"{name} {at} {words}")
        chats.append(chat)
        at += 1
        path = f"{APP}/sessions/{chat.session}/chat"
        with contextlib.suppress(Gone):
            await chat.listener.listen(service.port, "POST", path, {"message": chat.question})
        await asyncio.sleep(0.02)


async def _kill_and_start(service: Service, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.2, 2.0))
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)


async def _status(service: Service, chat: Chat) -> str:
    run = await ask(service.port, "GET", f"{APP}/runs/{chat.listener.run_id}")
    return str(run["status"])


async def _seconds_until_all_are_over(service: Service, chats: list[Chat]) -> float:
    """Wait until no run of before is at work any more, or for longer than allowed."""
    begun = time.monotonic()
    left = [chat for chat in chats if chat.acknowledged]
    while left and time.monotonic() - begun < 2 * ENDS_WITHIN_SECONDS:
        left = [chat for chat in left if await _status(service, chat) not in ENDS]
        await asyncio.sleep(0.2)
    return time.monotonic() - begun


def _lost_words(chat: Chat, kept: str) -> int:
    heard = chat.listener.text
    assert heard.startswith(kept) or kept.startswith(heard)
    return max(0, len(heard.split()) - len(kept.split()))


async def _lost_questions(service: Service, chats: list[Chat]) -> list[str]:
    """Return the sessions whose question was acknowledged and is not there."""
    lost = []
    for chat in chats:
        if chat.acknowledged:
            try:
                (question, *_) = await messages(service.port, chat.session)
            except AssertionError:
                lost.append(chat.session)
            else:
                assert text_of(question) == chat.question
    return lost


async def test_kills_of_the_whole_service_lose_no_question_and_leave_no_answer_open(tmp_path: Path) -> None:
    chance = random.Random(13)  # noqa: S311 -- spreads the kills
    everything: list[Chat] = []
    outcomes: Counter[str] = Counter()
    worst, most_lost = 0.0, 0
    for _ in range(KILLS // KILLS_BEFORE_A_REST):
        chats: list[Chat] = []
        over = asyncio.Event()
        folder = tmp_path / str(len(everything))
        folder.mkdir()
        with serving(folder, PROFILE) as (service,):
            asking = [asyncio.create_task(_chatter(name, service, chats, over)) for name in range(CHATTERS)]
            for _ in range(KILLS_BEFORE_A_REST):
                await _kill_and_start(service, chance)
            dead = [chat for chat in chats if chat.acknowledged and not chat.listener.outcome]
            open_at_first = sum([await _status(service, chat) not in ENDS for chat in dead])
            over.set()
            seconds = await _seconds_until_all_are_over(service, dead)
            await asyncio.gather(*asking)

            assert open_at_first > 0, "the control: just after the restart some answers are still open"
            assert seconds <= ENDS_WITHIN_SECONDS
            assert await _lost_questions(service, chats) == []
            for chat in chats:
                if chat.acknowledged:
                    _, answer = await messages(service.port, chat.session)
                    outcomes[answer["status"]] += 1
                    most_lost = max(most_lost, _lost_words(chat, text_of(answer)))
            assert most_lost <= UNSAVED_SECONDS * WORDS_PER_SECOND
        everything += chats
        worst = max(worst, seconds)
    tell(
        "kills of the service",
        kills=KILLS,
        chats=len(everything),
        acknowledged=sum(chat.acknowledged for chat in everything),
        outcomes=dict(outcomes),
        seconds_until_over=round(worst, 1),
        most_words_lost=most_lost,
    )

    assert set(outcomes) == {"complete", "interrupted"}
    assert outcomes["interrupted"] >= KILLS
    assert sum(chat.acknowledged for chat in everything) > KILLS * CHATTERS


async def test_a_store_that_forgets_is_caught(tmp_path: Path) -> None:
    chats: list[Chat] = []
    over = asyncio.Event()
    with serving(tmp_path, {**PROFILE, "CHATKEEP_STORE_URL": "memory://"}) as (service,):
        asking = [asyncio.create_task(_chatter(name, service, chats, over)) for name in range(CHATTERS)]
        await _kill_and_start(service, random.Random(13))  # noqa: S311 -- spreads the kill
        over.set()
        await asyncio.gather(*asking)
        lost = await _lost_questions(service, chats)

    assert len(lost) >= CHATTERS
