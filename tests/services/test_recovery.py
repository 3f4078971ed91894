"""A worker dies at every step of an answer; another one ends the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from tests.services.conftest import ALICE, Clock, Desk, DeskMaker, said

from chatkeep.domain.errors import LeaseLost
from chatkeep.domain.messages import assistant, user
from chatkeep.domain.runs import NewRun, Run
from chatkeep.domain.sessions import dump
from chatkeep.models.echo import EchoModel
from chatkeep.services.answers import store_answer, store_question
from chatkeep.services.asks import Ask
from chatkeep.services.chat import ChatRequest
from chatkeep.services.generation import LEASE
from chatkeep.services.live import encode_event
from chatkeep.services.recovery import recover

WORDS = "one two three"


async def claimed(desk: Desk) -> Run:
    """Claim a run as a worker does before anything else."""
    await desk.sessions.ensure(ALICE, "s")
    ask = Ask("chat", "Count!")
    new = NewRun(id="r", request=dump(ask.to_json()), digest=b"d" * 16, claimant="dead")
    return (await desk.store.claim_run(ALICE, "s", new, lease=LEASE)).run


async def asked(desk: Desk, run: Run) -> None:
    await store_question(desk.history, ALICE, run)


async def spoke(desk: Desk, run: Run) -> None:
    words = [
        encode_event(at, "delta", {"text": piece, "offset": offset})
        for at, piece, offset in ((1, "one ", 0), (2, "two ", 4), (3, "three", 8))
    ]
    await desk.store.append_events(ALICE, run.id, words, token=run.token, lease=LEASE)


async def answered(desk: Desk, run: Run) -> None:
    session = await desk.sessions.get(ALICE, "s")
    await store_answer(desk.history, ALICE, run, 1, session, assistant(WORDS, run_id=run.id))


STEPS: list[Callable[[Desk, Run], Awaitable[None]]] = [asked, spoke, answered]


@pytest.mark.parametrize(
    ("steps", "outcome", "text"),
    [(0, "interrupted", ""), (1, "interrupted", ""), (2, "interrupted", WORDS), (3, "complete", WORDS)],
    ids=["claimed", "asked", "spoke", "answered"],
)
async def test_wherever_a_worker_dies_question_and_words_are_kept_once(
    desks: DeskMaker, clock: Clock, steps: int, outcome: str, text: str
) -> None:
    dead, alive = desks(), desks()
    run = await claimed(dead)
    for step in STEPS[:steps]:
        await step(dead, run)
    clock.advance(seconds=16)

    taken = await alive.store.take_run(ALICE, run.id, lease=LEASE)
    assert taken is not None
    end = await recover(alive.store, alive.history, ALICE, taken)
    again = await recover(alive.store, alive.history, ALICE, taken)

    assert (end.run.status, again.run.status) == (outcome, outcome)
    assert await alive.texts("s") == [("user", "complete", "Count!"), ("assistant", outcome, text)]
    events = await alive.collect(run.id)
    assert said(events) == (WORDS if steps >= 2 else "")
    assert events[-1].data == {"status": outcome, "message_seq": 2, "durable": True}
    assert (await alive.sessions.get(ALICE, "s")).active_run_id is None


async def test_a_run_that_was_cancelled_before_its_worker_died_ends_as_cancelled(
    desks: DeskMaker, clock: Clock
) -> None:
    dead, alive = desks(EchoModel(40)), desks()
    run = await dead.chat.chat(ALICE, "s", ChatRequest(text="word " * 100))
    dead.crash()
    await alive.chat.cancel(ALICE, run.id)
    clock.advance(seconds=16)

    await alive.chat.pick_up(ALICE, run.id)

    assert (await alive.chat.get(ALICE, run.id)).status == "cancelled"


async def test_of_many_workers_that_pick_a_run_up_one_ends_it(desks: DeskMaker, clock: Clock) -> None:
    dead, *alive = (desks() for _ in range(5))
    run = await claimed(dead)
    await asked(dead, run)
    clock.advance(seconds=16)

    await asyncio.gather(*[desk.chat.pick_up(ALICE, run.id) for desk in alive])

    assert sum(len(desk.ended) for desk in alive) == 1
    assert [role for role, _, _ in await dead.texts("s")] == ["user", "assistant"]


async def test_a_run_is_not_picked_up_while_its_worker_lives(desks: DeskMaker, clock: Clock) -> None:
    busy, other = desks(), desks()
    run = await claimed(busy)
    clock.advance(seconds=LEASE.total_seconds() - 1)

    await other.chat.pick_up(ALICE, run.id)

    assert other.ended == []
    assert (await busy.chat.get(ALICE, run.id)).status == "running"


async def test_a_worker_that_was_taken_over_while_recovering_stops(desks: DeskMaker, clock: Clock) -> None:
    slow, fast = desks(), desks()
    run = await claimed(slow)
    clock.advance(seconds=16)
    slowly = await slow.store.take_run(ALICE, run.id, lease=timedelta(seconds=1))
    assert slowly is not None
    clock.advance(seconds=2)

    await fast.chat.pick_up(ALICE, run.id)
    with pytest.raises(LeaseLost):
        await recover(slow.store, slow.history, ALICE, slowly)

    assert [role for role, _, _ in await fast.texts("s")] == ["user", "assistant"]


async def test_a_run_whose_session_was_cleared_ends_and_frees_the_session(desks: DeskMaker, clock: Clock) -> None:
    dead, alive = desks(), desks()
    run = await claimed(dead)
    await asked(dead, run)
    await spoke(dead, run)
    await alive.history.clear(ALICE, "s")
    clock.advance(seconds=16)

    await alive.chat.pick_up(ALICE, run.id)

    ended = await alive.chat.get(ALICE, run.id)
    assert (ended.status, ended.message_seq) == ("interrupted", None)
    assert await alive.texts("s") == []
    await alive.history.append(ALICE, "s", [user("next")])
    assert [text for _, _, text in await alive.texts("s")] == ["next"]
