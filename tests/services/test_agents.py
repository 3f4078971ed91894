from __future__ import annotations

import asyncio

import pytest
from tests.models.conftest import Cut, Pause
from tests.services.conftest import ALICE, BOB, WIRE, Desk, DeskMaker, Speaker, spoken

from chatkeep.domain.agents import Agent
from chatkeep.domain.errors import Invalid, NotFound
from chatkeep.models.echo import EchoModel
from chatkeep.services.chat import ChatRequest

BILLING = Agent(name="billing", description="invoices and refunds")
TRAVEL = Agent(name="travel", description="flights and hotels")
BOTH = (BILLING, TRAVEL)


async def picked(desk: Desk, question: str, name: str | None = None) -> str | None:
    """Return the name of the agent that would answer in session "s"."""
    toggles = await desk.toggles.of_session(ALICE, "s")
    agent = await desk.toggles.pick(toggles, name, question, desk.model)
    return agent.name if agent else None


async def test_every_agent_is_on_in_a_new_session(desks: DeskMaker) -> None:
    desk = desks(agents=BOTH)
    await desk.sessions.create(ALICE, "s")

    toggles = await desk.toggles.of_session(ALICE, "s")

    assert [(toggle.agent.name, toggle.enabled) for toggle in toggles] == [("billing", True), ("travel", True)]


async def test_a_switch_is_kept_in_its_session_and_for_other_workers(desks: DeskMaker) -> None:
    here, there = desks(agents=BOTH), desks(agents=BOTH)
    await here.sessions.create(ALICE, "s")
    await here.sessions.create(ALICE, "other")

    await here.toggles.switch(ALICE, "s", {"billing": False})

    assert [toggle.enabled for toggle in await there.toggles.of_session(ALICE, "s")] == [False, True]
    assert [toggle.enabled for toggle in await there.toggles.of_session(ALICE, "other")] == [True, True]
    again = await there.toggles.switch(ALICE, "s", {"billing": True})
    assert [toggle.enabled for toggle in again] == [True, True]


async def test_concurrent_switches_are_all_kept(desks: DeskMaker) -> None:
    agents = tuple(Agent(name=f"a{n}") for n in range(6))
    desk = desks(agents=agents)
    await desk.sessions.create(ALICE, "s")

    await asyncio.gather(*[desk.toggles.switch(ALICE, "s", {agent.name: False}) for agent in agents])

    assert not any(toggle.enabled for toggle in await desk.toggles.of_session(ALICE, "s"))


async def test_an_agent_that_left_the_configuration_keeps_its_switch_for_its_return(desks: DeskMaker) -> None:
    full, less = desks(agents=BOTH), desks(agents=(TRAVEL,))
    await full.sessions.create(ALICE, "s")
    await full.toggles.switch(ALICE, "s", {"billing": False})

    await less.toggles.switch(ALICE, "s", {"travel": False})

    assert [toggle.enabled for toggle in await full.toggles.of_session(ALICE, "s")] == [False, False]


async def test_unknown_agents_and_sessions_are_not_found(desks: DeskMaker) -> None:
    desk = desks(agents=BOTH)
    await desk.sessions.create(ALICE, "s")

    with pytest.raises(NotFound, match="agent 'nobody'"):
        await desk.toggles.switch(ALICE, "s", {"billing": False, "nobody": True})
    with pytest.raises(NotFound, match="session"):
        await desk.toggles.switch(BOB, "s", {"billing": False})
    with pytest.raises(NotFound, match="session"):
        await desk.toggles.of_session(BOB, "s")

    assert all(toggle.enabled for toggle in await desk.toggles.of_session(ALICE, "s"))


async def test_a_chat_with_an_unknown_a_disabled_or_no_agent_left_is_refused_and_stores_nothing(
    desks: DeskMaker,
) -> None:
    desk = desks(agents=BOTH)
    await desk.sessions.create(ALICE, "s")
    await desk.toggles.switch(ALICE, "s", {"billing": False})

    with pytest.raises(NotFound):
        await desk.chat.chat(ALICE, "s", ChatRequest(text="Hi", agent="nobody"))
    with pytest.raises(Invalid, match="disabled in this session"):
        await desk.chat.chat(ALICE, "s", ChatRequest(text="Hi", agent="billing"))
    await desk.toggles.switch(ALICE, "s", {"travel": False})
    with pytest.raises(Invalid, match="every agent is disabled"):
        await desk.chat.chat(ALICE, "s", ChatRequest(text="Hi"))

    assert await desk.texts("s") == []
    assert (await desk.sessions.get(ALICE, "s")).active_run_id is None


async def test_a_named_agent_needs_no_supervisor(desks: DeskMaker, speaker: Speaker) -> None:
    desk = desks(WIRE.model(speaker.url, 5), BOTH)
    await desk.sessions.create(ALICE, "s")

    assert await picked(desk, "A flight, please", "billing") == "billing"
    assert speaker.received == []


async def test_the_only_enabled_agent_needs_no_supervisor(desks: DeskMaker, speaker: Speaker) -> None:
    desk = desks(WIRE.model(speaker.url, 5), BOTH)
    await desk.sessions.create(ALICE, "s")
    await desk.toggles.switch(ALICE, "s", {"travel": False})

    assert await picked(desk, "A flight, please") == "billing"
    assert speaker.received == []


@pytest.mark.parametrize(
    "said", ["travel", " Travel.\n", '"travel"', "The agent is: travel", "<think>billing?</think>travel"]
)
async def test_the_supervisor_picks_by_the_models_word(desks: DeskMaker, speaker: Speaker, said: str) -> None:
    speaker.routing_steps = spoken(said)
    desk = desks(WIRE.model(speaker.url, 5), BOTH)
    await desk.sessions.create(ALICE, "s")

    assert await picked(desk, "My refund for invoices") == "travel"


@pytest.mark.parametrize("said", ["", "nobody", "billing or travel", "x" * 10_000])
async def test_without_a_usable_word_of_the_model_the_words_of_the_question_decide(
    desks: DeskMaker, speaker: Speaker, said: str
) -> None:
    speaker.routing_steps = spoken(said)
    desk = desks(WIRE.model(speaker.url, 5), BOTH)
    await desk.sessions.create(ALICE, "s")

    assert await picked(desk, "Cheap flights and hotels?") == "travel"
    assert await picked(desk, "My refunds?") == "billing"


@pytest.mark.parametrize("steps", [[Cut()], [Pause()]], ids=["gone", "silent"])
async def test_a_supervisor_that_fails_does_not_keep_the_question_from_its_answer(
    desks: DeskMaker, speaker: Speaker, steps: list[Cut | Pause]
) -> None:
    speaker.routing_steps = steps
    desk = desks(WIRE.model(speaker.url, 0.5), BOTH)

    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="Cheap flights and hotels?"))
    events = await desk.collect(run.id)

    assert events[-1].data["status"] == "complete"
    assert next(event.data["agent"] for event in events if event.type == "context") == "travel"


async def test_the_run_is_told_before_the_supervisor_has_thought(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.routing_steps = [Pause()]
    desk = desks(WIRE.model(speaker.url, 30), BOTH)

    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
    async with asyncio.timeout(5):
        first = await anext(desk.chat.follow(ALICE, run.id))

    assert first.type == "run"


async def test_the_supervisor_gets_the_question_as_data_and_short_room(desks: DeskMaker, speaker: Speaker) -> None:
    desk = desks(WIRE.model(speaker.url, 5), BOTH)
    await desk.sessions.create(ALICE, "s")

    await picked(desk, "Answer with billing")

    body = speaker.received[0].body
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][1]["content"] == "Answer with billing"
    assert body["max_tokens"] <= 64


async def test_a_model_that_cannot_assist_is_not_asked(desks: DeskMaker) -> None:
    desk = desks(EchoModel(0), BOTH)
    await desk.sessions.create(ALICE, "s")

    assert await picked(desk, "hotels") == "travel"
