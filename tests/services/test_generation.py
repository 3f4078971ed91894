from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

import pytest
from tests.models.conftest import Cut, Pause
from tests.services.conftest import ALICE, WIRE, Clock, Desk, DeskMaker, Speaker, said, spoken, until

from chatkeep.domain.agents import Agent
from chatkeep.domain.errors import ModelUnavailable, Timeout, Unavailable
from chatkeep.domain.messages import Message, Reasoning, assistant, user
from chatkeep.domain.runs import NewRun, Run, RunEnd, RunEvent, RunOutcome, RunSignal
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.models.echo import EchoModel
from chatkeep.ports.models import Finished, ModelEvent, ModelRequest, ReasoningDelta, TextDelta
from chatkeep.services import events as writing, retrying
from chatkeep.services.chat import ChatRequest
from chatkeep.services.events import EventWriter
from chatkeep.services.generation import LEASE
from chatkeep.services.live import LiveRun
from chatkeep.stores.memory import MemoryStore

LONG = " ".join(f"word{n}" for n in range(200))


class Scripted:
    """A model in this process that says what a test wants, then fails if it shall."""

    name = "scripted"
    can_assist = False
    window_tokens = None

    def __init__(self, *events: ModelEvent, fails: bool = False) -> None:
        self._events = events
        self._fails = fails

    async def stream(self, _request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        for event in self._events:
            yield event
        if self._fails:
            raise ModelUnavailable("scripted: broke off")

    async def close(self) -> None:
        return


class FlakyStore(MemoryStore):
    """A store that, while `away`, refuses the writes of a run, or does them and then says that it does not know."""

    away = False
    does_it_anyway = False
    refused = 0

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        self._before()
        signal = await super().append_events(scope, run_id, events, token=token, lease=lease)
        self._after()
        return signal

    async def finish_run(
        self,
        scope: Scope,
        run_id: str,
        outcome: RunOutcome,
        *,
        token: int,
        events: Sequence[RunEvent] = (),
        message_seq: int | None = None,
        error: str | None = None,
    ) -> RunEnd:
        self._before()
        end = await super().finish_run(
            scope, run_id, outcome, token=token, events=events, message_seq=message_seq, error=error
        )
        self._after()
        return end

    def _before(self) -> None:
        if self.away and not self.does_it_anyway:
            self.refused += 1
            raise Unavailable("the store is away")

    def _after(self) -> None:
        if self.away:
            self.refused += 1
            raise Timeout("nobody knows")


async def answered(desk: Desk, text: str = "What is the weather?", session_id: str = "s") -> Message:
    """Chat, wait for the end, and return the stored answer."""
    run = await desk.chat.chat(ALICE, session_id, ChatRequest(text=text))
    await desk.collect(run.id)
    run = await desk.chat.get(ALICE, run.id)
    assert run.message_seq is not None
    entry = await desk.history.get(ALICE, session_id, run.message_seq)
    assert isinstance(entry, Message)
    return entry


async def settled(desk: Desk) -> None:
    """Wait for what a chat does behind its answer."""
    await until(lambda: not desk.chat._asides and not desk.chat._tasks)


async def test_an_answer_says_who_gave_it_how_it_ended_and_what_it_cost(desks: DeskMaker, speaker: Speaker) -> None:
    desk = desks(WIRE.model(speaker.url, 5))

    answer = await answered(desk)

    content = answer.content
    assert answer.text == "It is sunny."
    assert (content.model, content.finish_reason) == ("tiny-served", "stop")
    assert content.usage is not None
    assert (content.usage.input_tokens, content.usage.output_tokens) == (11, 7)
    assert content.duration_ms is not None
    assert content.run_id is not None


async def test_a_model_that_breaks_off_leaves_its_words_in_a_failed_message(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.answer_steps = [*WIRE.begin(), WIRE.text("It is "), Cut()]
    desk = desks(WIRE.model(speaker.url, 5))

    answer = await answered(desk)

    assert (answer.status, answer.text, answer.content.error) == ("failed", "It is ", "model_unavailable")
    assert [(run.status, run.error) for run in desk.ended] == [("failed", "model_unavailable")]
    assert (await desk.sessions.get(ALICE, "s")).active_run_id is None


async def test_a_model_that_falls_silent_ends_the_run_with_what_it_said(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.answer_steps = [*WIRE.begin(), WIRE.text("It is "), Pause()]
    desk = desks(WIRE.model(speaker.url, 0.3))

    answer = await answered(desk)

    assert (answer.status, answer.text, answer.content.error) == ("failed", "It is ", "model_timeout")


async def test_a_failure_before_the_first_word_is_kept_and_told(desks: DeskMaker) -> None:
    desk = desks(Scripted(fails=True))

    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
    events = await desk.collect(run.id)

    assert [event.type for event in events[-3:]] == ["error", "message", "done"]
    assert events[-3].data == {"code": "model_unavailable"}
    assert await desk.texts("s") == [("user", "complete", "Hi"), ("assistant", "failed", "")]


async def test_the_next_question_after_a_failure_is_answered(desks: DeskMaker, speaker: Speaker) -> None:
    desk = desks(WIRE.model(speaker.url, 5))
    speaker.answer_steps = [Cut()]
    await answered(desk)
    speaker.answer_steps = spoken("Fine now.")

    answer = await answered(desk, "And now?")

    assert (answer.status, answer.text) == ("complete", "Fine now.")
    sent = next(r.body["messages"] for r in speaker.received if r.body["messages"][-1]["content"] == "And now?")
    assert [message["role"] for message in sent] == ["user", "user"]


async def test_an_answer_cut_by_the_models_own_bound_is_partial(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.answer_steps = spoken("It is", is_cut_by_bound=True)
    desk = desks(WIRE.model(speaker.url, 5))

    answer = await answered(desk)

    assert (answer.status, answer.content.finish_reason) == ("partial", "length")
    assert [run.status for run in desk.ended] == ["complete"]


@pytest.mark.parametrize(
    ("piece", "count"),
    [("x" * 300_000, 1), ("x" * 7_000, 50), ('"\n' * 5_000, 40), ("é" * 200_000, 1), ("\x01" * 90_000, 1)],
    ids=["one piece", "many pieces", "escaped", "two bytes", "six bytes"],
)
async def test_an_answer_too_long_for_a_message_is_cut_where_it_is_full(
    desks: DeskMaker, piece: str, count: int
) -> None:
    desk = desks(Scripted(*[TextDelta(piece)] * count, Finished("stop", "scripted")))

    answer = await answered(desk)

    assert (answer.status, answer.content.finish_reason) == ("partial", "length")
    assert (piece * count).startswith(answer.text)
    written = len(json.dumps(answer.text, ensure_ascii=False).encode())
    assert 239 * 1024 <= written <= 241 * 1024


async def test_reasoning_is_kept_in_bounds_beside_a_long_answer(desks: DeskMaker) -> None:
    thoughts = [ReasoningDelta("hm " * 100_000)] * 2
    desk = desks(Scripted(*thoughts, TextDelta("x" * 300_000), Finished("stop", "scripted")))

    answer = await answered(desk)

    reasoning = next(part for part in answer.parts if isinstance(part, Reasoning))
    assert reasoning.text == ("hm " * 700)[:2_000]


@pytest.mark.parametrize("does_it_anyway", [False, True], ids=["refused", "outcome unknown"])
async def test_a_store_that_is_away_in_mid_answer_loses_nothing(clock: Clock, *, does_it_anyway: bool) -> None:
    store = FlakyStore(clock=clock)
    desk = Desk(store, clock, EchoModel(200))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text=LONG))
    await desk.wait_for_text(run.id)

    store.away, store.does_it_anyway = True, does_it_anyway
    await asyncio.sleep(0.8)
    store.away = False
    events = await desk.collect(run.id)

    assert store.refused >= 2
    assert events[-1].data == {"status": "complete", "message_seq": 2, "durable": True}
    assert (await desk.texts("s"))[1][2] == said(events)
    assert "word199" in said(events)
    stored = [event.n for event in await store.read_events(ALICE, run.id)]
    assert stored == list(range(1, len(stored) + 1))
    await desk.chat.close()


async def test_a_run_that_could_not_be_stored_is_ended_by_another_worker(clock: Clock) -> None:
    store = FlakyStore(clock=clock)
    desk = Desk(store, clock, EchoModel(0))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="short"))
    store.away = True

    await asyncio.wait(desk.chat._tasks, timeout=20)
    store.away = False
    clock.advance(seconds=16)
    alive = Desk(store, clock, EchoModel(0))
    await alive.chat.pick_up(ALICE, run.id)

    events = await alive.collect(run.id)
    assert events[-1].data == {"status": "complete", "message_seq": 2, "durable": True}
    assert [(role, status) for role, status, _ in await alive.texts("s")] == [
        ("user", "complete"),
        ("assistant", "complete"),
    ]


async def test_finishing_with_a_backlog_gives_up_when_the_store_stays_away(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT_SECONDS", 0.01)
    store = FlakyStore(clock=clock)
    await store.ensure_session(ALICE, "s", NewSession())
    new = NewRun(id="r", request="{}", digest=b"d" * 16, claimant="c")
    claim = await store.claim_run(ALICE, "s", new, lease=LEASE)
    writer = EventWriter(store, ALICE, claim.run, LiveRun("r", "s"), LEASE)
    for at in range(300):
        writer.add("usage", {"n": at})
    store.away = True

    with pytest.raises(Unavailable):
        await writer.finish("complete", message_seq=None, error=None)
    store.away = False
    await writer.finish("complete", message_seq=None, error=None)

    stored = [event.n for event in await store.read_events(ALICE, "r")]
    assert stored == list(range(1, 301))


async def test_the_lease_is_kept_while_the_model_thinks_of_suggestions(
    desks: DeskMaker, speaker: Speaker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "HEARTBEAT_SECONDS", 0.1)
    speaker.suggestion_steps = [Pause(2), *spoken("[]")]
    desk = desks(WIRE.model(speaker.url, 5))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
    await until(lambda: speaker.asked("Propose"))

    clock.advance(seconds=14)
    await asyncio.sleep(0.6)
    clock.advance(seconds=14)

    assert await desk.store.expired_runs() == []
    assert (await desk.collect(run.id))[-1].data["status"] == "complete"


async def test_a_cancel_while_the_model_thinks_of_suggestions_keeps_the_whole_answer(
    desks: DeskMaker, speaker: Speaker
) -> None:
    speaker.suggestion_steps = [Pause()]
    desk = desks(WIRE.model(speaker.url, 30))
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
    await until(lambda: speaker.asked("Propose"))

    await desk.chat.cancel(ALICE, run.id)
    events = await desk.collect(run.id)

    assert events[-1].data["status"] == "complete"
    assert (await desk.texts("s"))[1] == ("assistant", "complete", "It is sunny.")


async def test_the_answers_duration_does_not_count_the_suggestions(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.suggestion_steps = [Pause(1.5), *spoken("[]")]
    desk = desks(WIRE.model(speaker.url, 5))

    answer = await answered(desk)

    assert answer.content.duration_ms is not None
    assert answer.content.duration_ms < 1_400


async def test_an_agent_that_is_disabled_before_a_waiting_question_starts_fails_that_run(desks: DeskMaker) -> None:
    agents = (Agent(name="billing"), Agent(name="travel"))
    desk = desks(EchoModel(100), agents)
    first = await desk.chat.chat(ALICE, "s", ChatRequest(text=LONG, agent="travel"))
    second = await desk.chat.chat(ALICE, "s", ChatRequest(text="two", agent="billing", when_busy="queue"))
    await desk.toggles.switch(ALICE, "s", {"billing": False})

    await desk.chat.cancel(ALICE, first.id)
    events = await desk.collect(second.id)

    assert events[-1].data["status"] == "failed"
    assert (await desk.chat.get(ALICE, second.id)).error == "invalid"
    assert [(role, status) for role, status, _ in await desk.texts("s")][-2:] == [
        ("user", "complete"),
        ("assistant", "failed"),
    ]


async def test_the_agents_instructions_come_first_and_its_name_is_on_the_answer(
    desks: DeskMaker, speaker: Speaker
) -> None:
    agent = Agent(name="pirate", instructions="Talk like a pirate.")
    desk = desks(WIRE.model(speaker.url, 5), (agent,))

    answer = await answered(desk)

    assert answer.content.agent_name == "pirate"
    assert speaker.received[0].body["messages"][0] == {"role": "system", "content": "Talk like a pirate."}


async def test_the_model_gets_a_summary_of_what_does_not_fit_and_the_newest_turns_in_full(
    desks: DeskMaker, speaker: Speaker
) -> None:
    desk = desks(WIRE.model(speaker.url, 5))
    await desk.history.append(ALICE, "s", [user("The code is 4711. " + "old " * 40_000), assistant("ok")], create=True)
    await desk.history.append(ALICE, "s", [user("recent"), assistant("fresh")])

    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="now"))
    events = await desk.collect(run.id)

    summary, *rest = [message["content"] for message in speaker.received[0].body["messages"]]
    assert rest == ["recent", "fresh", "now"]
    assert summary.startswith('<earlier_conversation messages="1-2">')
    assert "The code is 4711." in summary
    context = next(event.data for event in events if event.type == "context")
    assert (context["included"], context["messages"], context["omitted"]) == ([[3, 5]], 4, [])
    assert [covered[:2] for covered in context["covered"]] == [[1, 2]]


async def test_the_answer_keeps_the_report_of_what_its_model_saw(desks: DeskMaker, speaker: Speaker) -> None:
    desk = desks(WIRE.model(speaker.url, 5))

    answer = await answered(desk)

    assert answer.content.context is not None
    assert answer.content.context["included"] == [[1, 1]]
    assert answer.content.context["tokens"]["total"] > 0


async def test_the_models_title_replaces_the_automatic_one_once(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.title_steps = spoken('"Sunny ', 'weather"')
    desk = desks(WIRE.model(speaker.url, 5))

    await answered(desk)
    await settled(desk)
    speaker.title_steps = spoken("Another title")
    await answered(desk, "And tomorrow?")
    await settled(desk)

    session = await desk.sessions.get(ALICE, "s")
    assert (session.title, session.title_source) == ("Sunny weather", "model")


async def test_a_title_that_the_user_set_meanwhile_stays(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.title_steps = [Pause(0.5), *spoken("Model title")]
    desk = desks(WIRE.model(speaker.url, 5))

    await answered(desk)
    await until(lambda: speaker.asked("Write a title"))
    await desk.sessions.update(ALICE, "s", SessionPatch(title="Mine"))
    await settled(desk)

    session = await desk.sessions.get(ALICE, "s")
    assert (session.title, session.title_source) == ("Mine", "user")


async def test_a_waiting_question_does_not_wait_for_the_title(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.title_steps = [Pause()]
    desk = desks(WIRE.model(speaker.url, 30))
    await desk.chat.chat(ALICE, "s", ChatRequest(text="one"))
    second = await desk.chat.chat(ALICE, "s", ChatRequest(text="two", when_busy="queue"))

    async with asyncio.timeout(5):
        events = await desk.collect(second.id)

    assert events[-1].data["status"] == "complete"


async def test_closing_does_not_wait_for_a_title(desks: DeskMaker, speaker: Speaker) -> None:
    speaker.title_steps = [Pause()]
    desk = desks(WIRE.model(speaker.url, 30))
    await answered(desk)

    async with asyncio.timeout(2):
        await desk.chat.close()

    assert (await desk.sessions.get(ALICE, "s")).title_source == "auto"


async def test_every_run_that_ends_is_reported_once(desks: DeskMaker) -> None:
    desk = desks(EchoModel(0))

    runs: list[Run] = [await desk.chat.chat(ALICE, f"s{n}", ChatRequest(text="Hi")) for n in range(3)]
    for run in runs:
        await desk.collect(run.id)
    await settled(desk)

    assert sorted(run.id for run in desk.ended) == sorted(run.id for run in runs)
