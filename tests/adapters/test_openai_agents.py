"""What a session of the OpenAI Agents SDK does, and what Chatkeep's does beyond."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, ModelResponse, RunConfig, Runner, Usage
from agents.memory import Session, SessionSettings
from agents.models.interface import Model
from openai.types.responses import ResponseOutputMessage, ResponseOutputText
from tests.adapters.test_openai_items import ITEMS

from chatkeep.adapters.openai_agents import ChatkeepSession
from chatkeep.domain.errors import ChatkeepError, IdReused, Invalid, LimitExceeded
from chatkeep.domain.messages import Message
from chatkeep.keep import Chatkeep


def _user(text: str) -> Any:
    return {"role": "user", "content": text}


def _answer(text: str) -> Any:
    return {"role": "assistant", "content": text}


def _texts(items: Iterable[Any]) -> list[str]:
    return [item["content"] for item in items]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the URL of a database of one's own."""
    return f"sqlite:///{tmp_path / 'chats.db'}"


@pytest.fixture
def session(url: str) -> Iterator[ChatkeepSession]:
    """Give an empty session."""
    session = ChatkeepSession("trip", url, user="alice")
    yield session
    session.close()


class Parrot(Model):
    """Says how many items it was given."""

    async def get_response(self, *arguments: Any, **named: Any) -> ModelResponse:
        given = named["input"] if "input" in named else arguments[1]
        text = ResponseOutputText(text=f"{len(given)} items", type="output_text", annotations=[])
        message = ResponseOutputMessage(id="msg", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


async def test_an_agent_finds_the_turns_before_also_after_a_restart(url: str) -> None:
    agent = Agent(name="Parrot", model=Parrot())
    quiet = RunConfig(tracing_disabled=True)
    async with ChatkeepSession("trip", url, user="alice") as session:
        assert isinstance(session, Session)
        first = await Runner.run(agent, "One", session=session, run_config=quiet)

    async with ChatkeepSession("trip", url, user="alice") as session:
        second = await Runner.run(agent, "Two", session=session, run_config=quiet)
        items = await session.get_items()

    assert (first.final_output, second.final_output) == ("1 items", "3 items")
    assert [item.get("role") for item in items] == ["user", "assistant", "user", "assistant"]


async def test_every_item_comes_back_from_the_database_as_it_was(session: ChatkeepSession) -> None:
    await session.add_items(list(ITEMS.values()))

    assert [json.dumps(item) for item in await session.get_items()] == [json.dumps(item) for item in ITEMS.values()]


async def test_limits_count_from_the_end_and_zero_is_none(url: str) -> None:
    session = ChatkeepSession("trip", url, session_settings=SessionSettings(limit=2))
    await session.add_items([_user(str(at)) for at in range(250)])

    assert _texts(await session.get_items()) == ["248", "249"]
    assert _texts(await session.get_items(3)) == ["247", "248", "249"]
    assert await session.get_items(0) == []
    assert len(await session.get_items(-1)) == 250
    assert len(await session.get_items(1_000)) == 250
    session.close()


async def test_pop_takes_the_latest_and_none_when_there_is_nothing_more(session: ChatkeepSession) -> None:
    assert await session.pop_item() is None
    await session.add_items([_user("Hi"), _answer("Hello")])

    assert await session.pop_item() == _answer("Hello")
    assert await session.get_items() == [_user("Hi")]
    assert await session.pop_item() == _user("Hi")
    assert await session.pop_item() is None


async def test_clear_leaves_nothing_and_the_session_goes_on(session: ChatkeepSession) -> None:
    await session.clear_session()
    await session.add_items([_user("Hi")])
    await session.clear_session()

    assert await session.get_items() == []
    await session.add_items([_user("Again")])
    assert await session.get_items() == [_user("Again")]


async def test_an_empty_batch_makes_no_session(session: ChatkeepSession) -> None:
    await session.add_items([])

    assert await session.record() is None


async def test_a_batch_with_an_item_that_cannot_be_stored_leaves_nothing(session: ChatkeepSession) -> None:
    broken: Any = {"role": "user", "content": {1, 2}}
    with pytest.raises(TypeError, match="an item cannot be stored"):
        await session.add_items([_user("Hi"), broken])
    with pytest.raises(LimitExceeded):
        await session.add_items([_user("Hi"), _user("x" * 2_000_000)])

    assert await session.get_items() == []


async def test_users_apps_and_sessions_do_not_see_each_other(url: str) -> None:
    sessions = [
        ChatkeepSession(name, url, user=user, app=app)
        for name in ("trip", "work")
        for user in ("alice", "bob")
        for app in ("default", "other")
    ]
    await asyncio.gather(*(session.add_items([_user(str(at))]) for at, session in enumerate(sessions)))

    assert [_texts(await session.get_items()) for session in sessions] == [[str(at)] for at in range(8)]
    page = await ChatkeepSession.list_sessions(url, user="alice")
    assert sorted(listed.id for listed in page.items) == ["trip", "work"]
    for session in sessions:
        session.close()


async def test_listing_goes_on_where_the_page_before_ended(url: str) -> None:
    for at in range(5):
        async with ChatkeepSession(f"s{at}", url) as session:
            await session.add_items([_user("Hi")])

    first = await ChatkeepSession.list_sessions(url, limit=3)
    second = await ChatkeepSession.list_sessions(url, limit=3, after=first.next)

    assert sorted(listed.id for listed in (*first.items, *second.items)) == ["s0", "s1", "s2", "s3", "s4"]
    assert second.next is None


async def test_a_repeat_with_the_same_key_stores_nothing(session: ChatkeepSession) -> None:
    many = [_user(str(at)) for at in range(250)]
    for _ in range(2):
        await session.add_items([_user("Hi"), _answer("Hello")], idempotency_key="turn 1")
        await session.add_items(many, idempotency_key="many")

    assert await session.get_items() == [_user("Hi"), _answer("Hello"), *many]
    with pytest.raises(IdReused):
        await session.add_items([_user("Other")], idempotency_key="turn 1")


async def test_what_others_append_to_the_session_are_items(url: str, session: ChatkeepSession) -> None:
    async with Chatkeep.open(url) as keep:
        chats = keep.for_user("alice")
        await chats.append_turn("trip", "Where to?", "Rome.", create=True)
        await session.add_items([_user("When?")])
        seen = [found for found in await chats.messages("trip") if isinstance(found, Message)]

    assert await session.get_items() == [_user("Where to?"), _answer("Rome."), _user("When?")]
    assert [message.text for message in seen] == ["Where to?", "Rome.", "When?"]


async def test_a_redacted_message_is_no_item_and_counts_for_no_limit(url: str, session: ChatkeepSession) -> None:
    await session.add_items([_user("Hi"), _answer("secret"), _user("Bye")])
    async with Chatkeep.open(url) as keep:
        await keep.for_user("alice").redact("trip", 2)

    assert await session.get_items(2) == [_user("Hi"), _user("Bye")]


async def test_by_default_everything_is_kept(session: ChatkeepSession) -> None:
    for turn in range(150):
        await session.add_items([_user(f"q{turn}"), _answer(f"a{turn}")])

    assert len(await session.get_items()) == 300
    record = await session.record()
    assert record is not None
    assert record.expires_at is None


async def test_agents_retention_keeps_the_newest_200_in_whole_turns_for_seven_days(url: str) -> None:
    session = ChatkeepSession("trip", url, retention="agent")
    for turn in range(150):
        await session.add_items([_user(f"q{turn}"), _answer(f"a{turn}")])

    items = await session.get_items()
    record = await session.record()
    session.close()

    assert (len(items), items[0], items[-1]) == (200, _user("q50"), _answer("a149"))
    assert record is not None
    assert record.expires_at is not None
    assert record.expires_at - record.modified_at == timedelta(days=7)


def test_an_unknown_retention_or_name_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'chats.db'}"
    with pytest.raises(Invalid, match="keep"):
        ChatkeepSession("trip", url, retention="for ever")
    with pytest.raises(Invalid):
        ChatkeepSession("", url)
    with pytest.raises(Invalid):
        ChatkeepSession("trip", url, user="x" * 300)

    assert list(tmp_path.iterdir()) == []


async def test_a_store_that_cannot_be_opened_is_an_error_of_the_first_call_and_can_be_tried_again(
    tmp_path: Path,
) -> None:
    in_the_way = tmp_path / "folder"
    in_the_way.write_bytes(b"")
    session = ChatkeepSession("trip", f"sqlite:///{in_the_way / 'chats.db'}")
    with pytest.raises(ChatkeepError):
        await session.get_items()

    in_the_way.unlink()

    assert await session.get_items() == []
    session.close()


async def test_a_cancelled_add_is_stored_whole_or_not_at_all(session: ChatkeepSession) -> None:
    batches = [[_user(f"{at}.{part}") for part in range(20)] for at in range(60)]
    stored: list[str] = []
    for at, batch in enumerate(batches):
        task = asyncio.create_task(session.add_items(batch))
        await asyncio.sleep((at % 10) * 0.0002)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        found = _texts(await session.get_items())
        assert found in (stored, [*stored, *_texts(batch)])
        stored = found

    await asyncio.sleep(0.05)
    assert _texts(await session.get_items()) == stored


async def test_of_many_that_pop_at_once_each_gets_another(url: str) -> None:
    sessions = [ChatkeepSession("trip", url) for _ in range(8)]
    await sessions[0].add_items([_user(str(at)) for at in range(40)])

    popped: list[Any] = await asyncio.gather(*(session.pop_item() for session in sessions for _ in range(6)))

    assert sorted(item["content"] for item in popped if item is not None) == sorted(str(at) for at in range(40))
    assert popped.count(None) == 8
    for session in sessions:
        session.close()


def test_threads_and_event_loops_share_a_session(url: str) -> None:
    session = ChatkeepSession("trip", url)

    def write(name: int) -> None:
        for at in range(10):
            asyncio.run(session.add_items([_user(f"{name}.{at}.0"), _user(f"{name}.{at}.1")]))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = _texts(asyncio.run(session.get_items()))
    session.close()

    assert len(found) == 80
    for name in range(4):
        own = [text for text in found if text.startswith(f"{name}.")]
        assert own == [f"{name}.{at}.{part}" for at in range(10) for part in range(2)]
    assert all(first[:-1] == second[:-1] for first, second in zip(found[::2], found[1::2], strict=True))


_WRITER = """
import asyncio, sys
from chatkeep.adapters.openai_agents import ChatkeepSession
async def main():
    async with ChatkeepSession("trip", sys.argv[1]) as session:
        for at in range(50):
            await session.add_items([{"role": "user", "content": f"{sys.argv[2]}.{at}"}])
asyncio.run(main())
"""


async def test_processes_share_a_session(url: str) -> None:
    command = (sys.executable, "-c", _WRITER, url)
    writers = [await asyncio.create_subprocess_exec(*command, str(name)) for name in range(3)]
    assert [await writer.wait() for writer in writers] == [0, 0, 0]

    async with ChatkeepSession("trip", url) as session:
        found = _texts(await session.get_items())

    assert len(found) == 150
    for name in range(3):
        assert [text for text in found if text.startswith(f"{name}.")] == [f"{name}.{at}" for at in range(50)]


async def test_a_closed_session_says_so_and_closing_twice_is_fine(session: ChatkeepSession) -> None:
    await session.add_items([_user("Hi")])
    session.close()
    await session.close()

    for call in (session.get_items(), session.add_items([_user("x")]), session.pop_item(), session.clear_session()):
        with pytest.raises(RuntimeError, match="closed"):
            await call


async def test_the_last_session_that_closes_leaves_no_thread(url: str) -> None:
    before = threading.active_count()
    sessions = [ChatkeepSession(f"s{at}", url) for at in range(3)]
    for session in sessions:
        await session.add_items([_user("Hi")])
    for session in sessions[:-1]:
        session.close()

    assert len(await sessions[-1].get_items()) == 1
    sessions[-1].close()
    assert threading.active_count() == before


def _call(number: int) -> Any:
    return {"type": "function_call", "call_id": f"c{number}", "name": "look", "arguments": "{}", "id": f"fc{number}"}


def _output(number: int) -> Any:
    return {"type": "function_call_output", "call_id": f"c{number}", "output": f"found {number} " + "thing " * 20}


async def test_a_bounded_session_gives_the_newest_turns_in_full_and_an_extract_of_the_others(url: str) -> None:
    async with ChatkeepSession("trip", url, user="alice", context_tokens=600) as session:
        turn: list[Any] = []
        for number in range(40):
            asked = _user(f"My order {number} is AB-{number:04}. " + "please " * 10)
            turn = [asked, _call(number), _output(number), _answer(f"Noted {number}.")]
            await session.add_items(turn)

        items: list[Any] = list(await session.get_items())
        everything = await session.get_items(-1)

    assert len(everything) == 160
    assert items[0]["role"] == "user"
    assert items[0]["content"].startswith('<earlier_conversation messages="1-')
    assert items[-4:] == turn
    calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    assert calls == [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    assert 0 < len(calls) < 20


async def test_a_call_whose_result_was_never_added_is_closed_before_the_next_question(url: str) -> None:
    async with ChatkeepSession("trip", url, user="alice", context_tokens=600) as session:
        await session.add_items([_user("Look!"), _call(1)])

        items: list[Any] = list(await session.get_items())

    assert items[1] == _call(1)
    assert (items[2]["type"], items[2]["call_id"]) == ("function_call_output", "c1")


async def test_a_bounded_session_that_does_not_exist_is_empty_and_a_limit_goes_first(url: str) -> None:
    async with ChatkeepSession("trip", url, user="alice", context_tokens=600) as session:
        assert await session.get_items() == []
        await session.add_items([_user("1"), _answer("2"), _user("3")])
        assert _texts(await session.get_items(1)) == ["3"]


def test_a_bound_too_small_for_anything_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="at least 256"):
        ChatkeepSession("trip", url, context_tokens=100)
