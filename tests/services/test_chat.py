from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.services.conftest import ALICE, BOB, Clock, DeskMaker, said

from chatkeep.domain.agents import Agent
from chatkeep.domain.errors import IdReused, Invalid, NotFound, RunActive
from chatkeep.domain.messages import Message, user
from chatkeep.domain.pages import SessionFilter
from chatkeep.models.echo import EchoModel
from chatkeep.ports.models import ModelEvent, ModelRequest, TextDelta
from chatkeep.services.chat import ChatRequest
from chatkeep.services.live import StreamEvent

LONG = " ".join(f"word{n}" for n in range(400))
SLOW = 40.0


async def test_an_answer_is_stored_behind_its_question_and_told_in_order(desks: DeskMaker) -> None:
    desk = desks()

    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="How are you?"))
    events = await desk.collect(run.id)

    kinds = [event.type for event in events if event.type]
    assert kinds[:2] == ["run", "context"]
    assert kinds[-2:] == ["message", "done"]
    assert events[-1].data == {"status": "complete", "message_seq": 2, "durable": True}
    texts = await desk.texts("s")
    assert [(role, status) for role, status, _ in texts] == [("user", "complete"), ("assistant", "complete")]
    assert texts[1][2] == said(events)
    assert (await desk.chat.get(ALICE, run.id)).status == "complete"


async def test_the_question_is_stored_before_the_model_says_a_word(desks: DeskMaker) -> None:
    desk = desks(EchoModel(0.001))

    await desk.chat.chat(ALICE, "s", ChatRequest(text="Remember me"))

    assert await desk.texts("s") == [("user", "complete", "Remember me")]


async def test_a_new_chat_gets_a_session_with_a_title_from_its_question(desks: DeskMaker) -> None:
    desk = desks()

    run = await desk.chat.chat(ALICE, None, ChatRequest(text="What is the capital of France?"))

    session = await desk.sessions.get(ALICE, run.session_id)
    assert (session.title, session.title_source) == ("What is the capital of France?", "auto")


async def test_a_repeated_request_attaches_to_the_same_run_in_the_same_session(desks: DeskMaker) -> None:
    desk = desks()

    first = await desk.chat.chat(ALICE, None, ChatRequest(text="Once"), idempotency_key="k")
    await desk.collect(first.id)
    again = await desk.chat.chat(ALICE, None, ChatRequest(text="Once"), idempotency_key="k")

    assert (again.id, again.session_id, again.status) == (first.id, first.session_id, "complete")
    assert len(await desk.texts(first.session_id)) == 2


async def test_the_same_key_with_another_question_is_refused(desks: DeskMaker) -> None:
    desk = desks()
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="Once"), idempotency_key="k")
    await desk.collect(run.id)

    with pytest.raises(IdReused):
        await desk.chat.chat(ALICE, "s", ChatRequest(text="Twice"), idempotency_key="k")

    assert len(await desk.texts("s")) == 2


async def test_a_second_message_is_refused_with_the_active_run(desks: DeskMaker) -> None:
    desk = desks(EchoModel(SLOW))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text=LONG))

    with pytest.raises(RunActive) as refused:
        await desk.chat.chat(ALICE, "s", ChatRequest(text="And?"))

    assert refused.value.run_id == run.id
    assert [role for role, _, _ in await desk.texts("s")] == ["user"]


async def test_queued_messages_are_answered_in_order_when_the_session_is_free(desks: DeskMaker) -> None:
    desk = desks(EchoModel(200))
    first = await desk.chat.chat(ALICE, "s", ChatRequest(text="one"))

    second = await desk.chat.chat(ALICE, "s", ChatRequest(text="two", when_busy="queue"))
    third = await desk.chat.chat(ALICE, "s", ChatRequest(text="three", when_busy="queue"))

    assert (first.status, second.status, third.status) == ("running", "queued", "queued")
    await desk.collect(third.id)
    assert [text for role, _, text in await desk.texts("s") if role == "user"] == ["one", "two", "three"]
    assert [status for _, status, _ in await desk.texts("s")] == ["complete"] * 6


async def test_an_interrupting_message_stops_the_answer_and_is_answered(desks: DeskMaker) -> None:
    desk = desks(EchoModel(SLOW))
    first = await desk.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    await desk.wait_for_text(first.id)

    second = await desk.chat.chat(ALICE, "s", ChatRequest(text="stop", when_busy="interrupt"))
    await desk.collect(second.id)

    outcomes = [(await desk.chat.get(ALICE, run.id)).status for run in (first, second)]
    assert outcomes == ["cancelled", "complete"]
    assert [status for _, status, _ in await desk.texts("s")] == ["complete", "cancelled", "complete", "complete"]


async def test_a_cancel_keeps_what_was_said(desks: DeskMaker) -> None:
    desk = desks(EchoModel(SLOW))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    await desk.wait_for_text(run.id)

    await desk.chat.cancel(ALICE, run.id)
    events = await desk.collect(run.id)

    assert events[-1].data["status"] == "cancelled"
    (_, status, text) = (await desk.texts("s"))[1]
    assert status == "cancelled"
    assert text
    assert text == said(events)


async def test_a_cancel_from_another_worker_stops_the_answer_soon(desks: DeskMaker) -> None:
    here, there = desks(EchoModel(SLOW)), desks()
    run = await here.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    await here.wait_for_text(run.id)

    await there.chat.cancel(ALICE, run.id)
    events = await there.collect(run.id)

    assert events[-1].data["status"] == "cancelled"


async def test_a_client_that_resumes_anywhere_on_any_worker_gets_the_same_text(desks: DeskMaker) -> None:
    here, there = desks(EchoModel(400)), desks()
    run = await here.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    whole = await here.collect(run.id)

    for event in whole:
        if event.n is not None:
            rest = await there.collect(run.id, after=event.n)
            assert _join(whole, rest, event.n) == said(whole)


def _join(whole: list[StreamEvent], rest: list[StreamEvent], n: int) -> str:
    text = said(whole)
    offsets = [event.data["offset"] for event in rest if event.type == "delta"]
    begin = min(offsets, default=len(text))
    assert all((event.n or n + 1) > n for event in rest)
    shifted = [
        StreamEvent(event.n, "delta", {"text": event.data["text"], "offset": event.data["offset"] - begin})
        for event in rest
        if event.type == "delta"
    ]
    return text[:begin] + said(shifted)


async def test_followers_of_a_live_run_see_text_before_it_is_stored_and_its_number_after(desks: DeskMaker) -> None:
    desk = desks(EchoModel(100))

    run = await desk.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    events = await desk.collect(run.id)

    assert any(event.type == "delta" and event.n is None for event in events)
    assert any(event.type == "" and event.n is not None for event in events)
    numbers = [event.n for event in events if event.n is not None]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_the_run_of_a_dead_worker_ends_as_interrupted_with_what_was_stored(
    desks: DeskMaker, clock: Clock
) -> None:
    dead, alive = desks(EchoModel(SLOW)), desks()
    run = await dead.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    await dead.wait_for_text(run.id)
    await asyncio.sleep(0.5)
    dead.crash()
    clock.advance(seconds=16)

    expired = await alive.store.expired_runs()
    for scope, run_id in expired:
        await alive.chat.pick_up(scope, run_id)

    assert expired == [(ALICE, run.id)]
    events = await alive.collect(run.id)
    assert events[-1].data == {"status": "interrupted", "message_seq": 2, "durable": True}
    (_, status, text) = (await alive.texts("s"))[1]
    assert status == "interrupted"
    assert len(text.split()) >= 10
    assert text == said(events)
    assert (await alive.sessions.get(ALICE, "s")).active_run_id is None


async def test_what_a_dead_worker_said_keeps_the_name_of_its_agent(desks: DeskMaker, clock: Clock) -> None:
    agents = (Agent(name="poet"), Agent(name="clerk"))
    dead, alive = desks(EchoModel(SLOW), agents), desks(agents=agents)
    run = await dead.chat.chat(ALICE, "s", ChatRequest(text=LONG, agent="clerk"))
    await dead.wait_for_text(run.id)
    await asyncio.sleep(0.5)
    dead.crash()
    clock.advance(seconds=16)

    await alive.chat.pick_up(ALICE, run.id)

    answer = await alive.history.get(ALICE, "s", 2)
    assert isinstance(answer, Message)
    assert (answer.status, answer.content.agent_name) == ("interrupted", "clerk")


async def test_nobody_reads_a_cleared_answer_from_its_run(desks: DeskMaker) -> None:
    desk = desks()
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="A secret"))
    assert "secret" in said(await desk.collect(run.id))

    await desk.history.clear(ALICE, "s")

    events = await desk.collect(run.id)
    assert [event.type for event in events] == ["done"]


async def test_a_waiting_message_of_a_dead_worker_is_answered_by_another(desks: DeskMaker, clock: Clock) -> None:
    dead, alive = desks(EchoModel(SLOW)), desks()
    first = await dead.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    second = await dead.chat.chat(ALICE, "s", ChatRequest(text="me too", when_busy="queue"))
    dead.crash()
    clock.advance(seconds=16)

    await alive.chat.pick_up(ALICE, first.id)
    events = await alive.collect(second.id)

    assert events[-1].data["status"] == "complete"
    assert [status for _, status, _ in await alive.texts("s")] == ["complete", "interrupted", "complete", "complete"]


async def test_a_worker_that_has_lost_its_lease_writes_nothing_more(desks: DeskMaker, clock: Clock) -> None:
    zombie, alive = desks(EchoModel(SLOW)), desks()
    run = await zombie.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    await zombie.wait_for_text(run.id)
    clock.advance(seconds=16)

    await alive.chat.pick_up(ALICE, run.id)
    taken = await alive.texts("s")
    await asyncio.wait(zombie.chat._tasks, timeout=5)

    assert not zombie.chat._tasks
    assert await alive.texts("s") == taken
    assert [status for _, status, _ in taken] == ["complete", "interrupted"]


async def test_closing_a_worker_ends_its_answers_as_interrupted(desks: DeskMaker) -> None:
    desk = desks(EchoModel(SLOW))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    await desk.wait_for_text(run.id)

    await desk.chat.close()

    assert (await desk.chat.get(ALICE, run.id)).status == "interrupted"
    assert (await desk.texts("s"))[1][1] == "interrupted"


async def test_an_edit_is_answered_on_a_branch_and_the_first_one_stays(desks: DeskMaker) -> None:
    desk = desks()
    await desk.collect((await desk.chat.chat(ALICE, "s", ChatRequest(text="one"))).id)

    run = await desk.chat.edit(ALICE, "s", 1, ChatRequest(text="uno"))
    await desk.collect(run.id)

    assert [text for role, _, text in await desk.texts("s") if role == "user"] == ["uno"]
    everything = await desk.history.read(ALICE, "s", newest_first=False, path="all")
    assert [entry.parent_seq for entry in everything if isinstance(entry, Message)] == [0, 1, 0, 3]
    await desk.history.select(ALICE, "s", 2)
    assert [text for role, _, text in await desk.texts("s") if role == "user"] == ["one"]


async def test_a_regenerated_answer_is_a_branch_behind_the_same_question(desks: DeskMaker) -> None:
    desk = desks()
    await desk.collect((await desk.chat.chat(ALICE, "s", ChatRequest(text="one"))).id)
    await desk.collect((await desk.chat.chat(ALICE, "s", ChatRequest(text="two"))).id)

    run = await desk.chat.regenerate(ALICE, "s", 4, ChatRequest(text=""))
    await desk.collect(run.id)

    path = await desk.history.read(ALICE, "s", newest_first=False)
    assert [entry.seq for entry in path] == [1, 2, 3, 5]


async def test_an_answer_follows_its_question_when_the_reader_goes_to_another_branch(desks: DeskMaker) -> None:
    desk = desks(EchoModel(SLOW))
    await desk.history.append(ALICE, "s", [user("old")], create=True)
    run = await desk.chat.edit(ALICE, "s", 1, ChatRequest(text=LONG))
    await desk.wait_for_text(run.id)

    await desk.history.select(ALICE, "s", 1)
    await desk.chat.cancel(ALICE, run.id)
    await desk.collect(run.id)

    everything = await desk.history.read(ALICE, "s", newest_first=False, path="all")
    assert [(entry.seq, entry.parent_seq) for entry in everything if isinstance(entry, Message)] == [
        (1, 0),
        (2, 0),
        (3, 2),
    ]


async def test_a_run_whose_session_is_cleared_meanwhile_ends_without_a_message(desks: DeskMaker) -> None:
    desk = desks(EchoModel(SLOW))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    await desk.wait_for_text(run.id)

    await desk.history.clear(ALICE, "s")
    await desk.chat.cancel(ALICE, run.id)
    events = await desk.collect(run.id)

    assert events[-1].data == {"status": "cancelled", "message_seq": None, "durable": False}
    assert await desk.texts("s") == []
    assert (await desk.sessions.get(ALICE, "s")).active_run_id is None


async def test_only_user_messages_can_be_edited(desks: DeskMaker) -> None:
    desk = desks()
    await desk.collect((await desk.chat.chat(ALICE, "s", ChatRequest(text="one"))).id)

    with pytest.raises(Invalid, match="not a user message"):
        await desk.chat.edit(ALICE, "s", 2, ChatRequest(text="uno"))


@pytest.mark.parametrize("text", ["", "  \n", "\ud800"])
async def test_a_message_without_words_is_refused_and_leaves_no_session(desks: DeskMaker, text: str) -> None:
    desk = desks()

    with pytest.raises(Invalid):
        await desk.chat.chat(ALICE, "s", ChatRequest(text=text))

    assert (await desk.sessions.list(ALICE, SessionFilter())).items == ()
    assert await desk.sessions.find(ALICE, "s") is None


async def test_somebody_elses_run_is_not_found(desks: DeskMaker) -> None:
    desk = desks()
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="mine"))

    with pytest.raises(NotFound):
        await desk.chat.get(BOB, run.id)
    with pytest.raises(NotFound):
        await desk.chat.cancel(BOB, run.id)
    with pytest.raises(NotFound):
        _ = [event async for event in desk.chat.follow(BOB, run.id)]


class FaultyModel(EchoModel):
    """Somebody else's model, with an error in it."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        yield TextDelta("so far ")
        raise ValueError(f"secret words about {len(request.messages)} messages")


async def test_a_fault_inside_a_model_ends_its_run_at_once_with_what_was_said(
    desks: DeskMaker, caplog: pytest.LogCaptureFixture
) -> None:
    desk = desks(FaultyModel(0))

    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="Hello"))
    events = await desk.collect(run.id)

    assert events[-1].data["status"] == "failed"
    assert (await desk.texts("s"))[1] == ("assistant", "failed", "so far ")
    assert (await desk.chat.get(ALICE, run.id)).error == "model_error"
    assert "ValueError" in caplog.text
    assert "secret words" not in caplog.text
