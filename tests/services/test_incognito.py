from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from copy import deepcopy

import pytest
from tests.models.conftest import Cut, Pause
from tests.services.conftest import WIRE, Catalog, Desk, DeskMaker, Speaker, said, spoken, until

from chatkeep.domain.agents import Agent
from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.errors import Invalid, LimitExceeded, NotFound
from chatkeep.domain.messages import NewMessage, ToolCall, ToolResult, assistant, tool, user
from chatkeep.models.echo import EchoModel
from chatkeep.ports.models import ChatModel
from chatkeep.services.agents import AgentService
from chatkeep.services.incognito import IncognitoService
from chatkeep.services.live import StreamEvent

SECRET = "xyzzy-4711"  # noqa: S105 -- a word to look for, not a credential


def incognito(
    desk: Desk, model: ChatModel, agents: Sequence[Agent] = (), budget_tokens: int = 8192
) -> IncognitoService:
    """Return the service over the desk's store, which it must leave alone."""
    policy = ContextPolicy(tmax_tokens=budget_tokens)
    return IncognitoService(Catalog(model), AgentService(desk.store, agents), policy)


async def collected(events: AsyncGenerator[StreamEvent, None]) -> list[StreamEvent]:
    async with asyncio.timeout(20):
        return [event async for event in events]


async def test_an_incognito_chat_streams_its_answer_and_promises_nothing(desks: DeskMaker) -> None:
    model = EchoModel(200)
    desk = desks(model)

    events = await collected(await incognito(desk, model).chat([], f"one two three {SECRET}"))

    assert [event.type for event in events][:2] == ["run", "context"]
    assert [event.type for event in events][-2:] == ["message", "done"]
    assert sum(event.type == "delta" for event in events) > 1
    assert said(events) == events[-2].data["text"]
    assert SECRET in said(events)
    assert events[-1].data == {"status": "complete", "durable": False}
    assert all(event.n is None for event in events)
    assert "session_id" not in events[0].data


async def test_an_incognito_chat_leaves_the_store_and_the_logs_as_they_were(
    desks: DeskMaker, caplog: pytest.LogCaptureFixture
) -> None:
    model = EchoModel(0)
    desk = desks(model, (Agent(name="one"), Agent(name="two", description=SECRET)))
    before = deepcopy(desk.store._tables)
    caplog.set_level(logging.DEBUG)

    await collected(await incognito(desk, model, desk.agents).chat([user(SECRET), assistant(SECRET)], SECRET))

    assert desk.store._tables == before
    assert SECRET not in caplog.text


async def test_the_transcript_is_what_the_model_remembers(desks: DeskMaker, speaker: Speaker) -> None:
    model = WIRE.model(speaker.url, 5)
    desk = desks(model)

    events = await collected(await incognito(desk, model).chat([user("I am Ann"), assistant("Hi Ann")], "Who am I?"))

    assert [m["content"] for m in speaker.received[0].body["messages"]] == ["I am Ann", "Hi Ann", "Who am I?"]
    assert events[1].data == {"messages": 2, "omitted": 0, "agent": None}
    assert next(event.data for event in events if event.type == "usage") == {"input_tokens": 11, "output_tokens": 7}


async def test_what_does_not_fit_is_left_out_by_whole_turns(desks: DeskMaker, speaker: Speaker) -> None:
    model = WIRE.model(speaker.url, 5)
    transcript: list[NewMessage] = [
        user("old"),
        assistant(ToolCall("c", "look", {"in": "x" * 4_000})),
        tool(ToolResult("c", "found", is_error=False)),
        assistant("done"),
        user("new"),
        assistant("yes"),
    ]

    events = await collected(await incognito(desks(model), model, budget_tokens=300).chat(transcript, "now"))

    assert [m["content"] for m in speaker.received[0].body["messages"]] == ["new", "yes", "now"]
    assert (events[1].data["messages"], events[1].data["omitted"]) == (2, 4)


async def test_a_failure_in_mid_answer_is_told_with_the_words_so_far(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.answer_steps = [*WIRE.begin(), WIRE.text("It is "), Cut()]
    model = WIRE.model(speaker.url, 5)

    events = await collected(await incognito(desks(model), model).chat([], "How is it?"))

    assert [event.type for event in events[-3:]] == ["error", "message", "done"]
    assert events[-3].data == {"code": "model_unavailable"}
    assert events[-2].data == {"text": "It is ", "status": "failed"}


async def test_an_answer_cut_by_the_models_bound_is_partial(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.answer_steps = spoken("It is", is_cut_by_bound=True)
    model = WIRE.model(speaker.url, 5)

    events = await collected(await incognito(desks(model), model).chat([], "How is it?"))

    assert events[-2].data["status"] == "partial"
    assert events[-1].data["status"] == "complete"


async def test_closing_the_stream_ends_the_request_to_the_model(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.answer_steps = [*WIRE.begin(), WIRE.text("It is "), Pause()]
    model = WIRE.model(speaker.url, 30)
    events = await incognito(desks(model), model).chat([], "How is it?")
    async for event in events:
        if event.type == "delta":
            break

    await events.aclose()

    await until(speaker.disconnected.is_set)


async def test_an_answer_that_nobody_begins_to_read_is_never_asked_for(desks: DeskMaker, speaker: Speaker) -> None:
    model = WIRE.model(speaker.url, 5)
    tasks = asyncio.all_tasks()

    events = await incognito(desks(model), model).chat([], "How is it?")
    await events.aclose()
    await asyncio.sleep(0.1)

    assert speaker.received == []
    assert asyncio.all_tasks() <= tasks | {asyncio.current_task()}


async def test_an_agent_is_picked_as_in_a_session(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.routing_steps = spoken("travel")
    model = WIRE.model(speaker.url, 5)
    agents = (Agent(name="billing", description="money"), Agent(name="travel", instructions="Be brief."))

    events = await collected(await incognito(desks(model), model, agents).chat([], "money, please"))

    assert events[1].data["agent"] == "travel"
    assert speaker.received[-1].body["messages"][0]["content"] == "Be brief."


@pytest.mark.parametrize("text", ["", " \n", "\ud800"])
async def test_a_message_without_words_is_refused(desks: DeskMaker, text: str) -> None:
    desk = desks()

    with pytest.raises(Invalid):
        await incognito(desk, desk.model).chat([], text)


async def test_a_transcript_beyond_the_bounds_is_refused(desks: DeskMaker) -> None:
    desk = desks()
    service = incognito(desk, desk.model)

    with pytest.raises(LimitExceeded, match="1001 messages, the limit is 1000"):
        await service.chat([user("x")] * 1_001, "hi")
    with pytest.raises(LimitExceeded, match="the limit is 4194304"):
        await service.chat([user("x" * 300_000)] * 14, "hi")


async def test_an_unknown_agent_is_not_found(desks: DeskMaker) -> None:
    desk = desks()

    with pytest.raises(NotFound):
        await incognito(desk, desk.model).chat([], "hi", agent="nobody")
