from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest
from tests.api.conftest import BASE, Running, running_server
from tests.api.sse import Event, events_of, following, text_of

from chatkeep.api import feeds, sse
from chatkeep.domain.scope import Scope
from chatkeep.settings import Settings

LOCAL = Scope("default", "default", "local")
LONG = " ".join(f"word{n}" for n in range(60))


async def cut_off_chat(live: Running, session_id: str, message: str) -> str:
    """Ask over a bare socket, cut it after the first words, and return the run's id."""
    body = json.dumps({"message": message}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    head = (
        f"POST {BASE}/sessions/{session_id}/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    seen = b""
    while b"event: delta" not in seen:
        seen += await reader.read(1000)
    writer.transport.abort()
    return next(
        line.split(": ")[1] for line in seen.decode().splitlines() if line.lower().startswith("chatkeep-run-id")
    )


async def ended(live: Running, run_id: str) -> dict[str, object]:
    """Wait for the end of a run and return it."""
    for _ in range(200):
        run: dict[str, object] = (await live.client.get(f"/runs/{run_id}")).json()
        if run["finished_at"] is not None:
            return run
        await asyncio.sleep(0.05)
    raise AssertionError(f"run {run_id} does not end")


async def test_words_arrive_one_after_the_other(live: Running) -> None:
    clock = asyncio.get_running_loop().time

    async with live.client.stream("POST", "/chat", json={"message": LONG}) as response:
        arrivals = [clock() async for event in following(response) if event.type == "delta"]

    assert arrivals[-1] - arrivals[0] > 0.7
    assert len(arrivals) > 20


async def test_a_cut_connection_does_not_end_the_answer(live: Running) -> None:
    run_id = await cut_off_chat(live, "a", LONG)

    run = await ended(live, run_id)

    answer = (await live.client.get("/sessions/a/messages/2")).json()
    assert run["status"] == "complete"
    assert answer["parts"][0]["text"].endswith(LONG)


async def test_a_client_that_comes_back_gets_the_rest(live: Running) -> None:
    seen: list[Event] = []
    async with live.client.stream("POST", "/sessions/a/chat", json={"message": LONG}) as response:
        run_id = response.headers["chatkeep-run-id"]
        async for event in following(response):
            seen.append(event)
            if len([event for event in seen if event.id]) == 4:
                break
    last = next(event.id for event in reversed(seen) if event.id)

    response = await live.client.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": str(last)})

    rest = events_of(response.text)
    ids = [int(event.id) for event in rest if event.id]
    assert ids == list(range(int(last) + 1, int(last) + 1 + len(ids)))
    assert text_of(seen + rest).endswith(LONG)
    assert rest[-1].type == "done"


async def test_two_followers_see_the_same_answer(live: Running) -> None:
    run_id = await cut_off_chat(live, "a", LONG)

    texts = [
        text_of(events_of(response.text))
        for response in await asyncio.gather(*(live.client.get(f"/runs/{run_id}/events") for _ in range(2)))
    ]

    assert texts[0] == texts[1]
    assert texts[0].endswith(LONG)


async def test_a_cancelled_answer_keeps_what_was_said(live: Running) -> None:
    async with live.client.stream("POST", "/sessions/a/chat", json={"message": LONG}) as response:
        run_id = response.headers["chatkeep-run-id"]
        events = following(response)
        said = [await anext(events) for _ in range(8)]
        cancelled = await live.client.post(f"/runs/{run_id}/cancel")
        said += [event async for event in events]

    run = await ended(live, run_id)
    message = (await live.client.get("/sessions/a/messages/2")).json()
    assert cancelled.status_code == 200
    assert (run["status"], message["status"]) == ("cancelled", "cancelled")
    assert said[-1].data["status"] == "cancelled"
    assert message["parts"][0]["text"] == text_of(said)
    assert len(message["parts"][0]["text"]) < len(LONG)


async def test_a_second_message_is_refused_with_the_run_that_answers(live: Running) -> None:
    run_id = await cut_off_chat(live, "a", LONG)

    response = await live.client.post("/sessions/a/chat", json={"message": "and?"})

    assert (response.status_code, response.json()["code"]) == (409, "run_active")
    assert response.json()["run_id"] == run_id
    assert (await live.client.get("/sessions/a")).json()["active_run_id"] == run_id


async def test_a_queued_message_tells_its_run_and_is_answered_later(live: Running) -> None:
    first = await cut_off_chat(live, "a", " ".join(LONG.split()[:20]))

    async with live.client.stream(
        "POST", "/sessions/a/chat", json={"message": "and?", "when_busy": "queue"}
    ) as response:
        events = [event async for event in following(response)]

    assert (events[0].type, events[0].data["status"], events[0].id) == ("run", "queued", None)
    assert (await ended(live, first))["status"] == "complete"
    assert text_of(events).endswith("and?")
    assert [m["seq"] for m in (await live.client.get("/sessions/a/messages")).json()["items"]] == [1, 2, 3, 4]


async def test_an_interrupting_message_ends_the_answer_before_it(live: Running) -> None:
    first = await cut_off_chat(live, "a", LONG)

    response = await live.client.post(
        "/sessions/a/chat", json={"message": "stop", "when_busy": "interrupt", "stream": False}
    )

    assert response.json()["answer"].endswith("stop")
    assert (await ended(live, first))["status"] == "cancelled"


async def test_silence_is_filled_with_comments(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.05)

    async with live.client.stream("GET", "/events") as response:
        text = ""
        async for piece in response.aiter_text():
            text += piece
            if text.count("\n:") >= 2:
                break

    assert text.startswith(":")
    assert response.headers["x-accel-buffering"] == "no"


async def test_a_feed_tells_of_changes(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "POLL_SECONDS", 0.05)

    async with live.client.stream("GET", "/events") as response:
        events = following(response)
        hello = await anext(events)
        await live.client.post("/sessions", json={"id": "a"})
        change = await asyncio.wait_for(anext(events), 5)

    assert (hello.type, change.type) == ("hello", "change")
    assert hello.data["version"] != change.data["version"]


async def test_the_number_of_feeds_is_bounded(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MAX_FEEDS", 1)

    async with live.client.stream("GET", "/events") as response:
        await anext(following(response))
        refused = await live.client.get("/events")

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0


async def test_a_closed_feed_makes_room(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MAX_FEEDS", 1)
    async with live.client.stream("GET", "/events") as response:
        await anext(following(response))

    for _ in range(100):
        if live.app.state.house.feeds == 0:
            break
        await asyncio.sleep(0.02)

    assert live.app.state.house.feeds == 0


async def test_a_server_that_ends_interrupts_its_answers_and_says_so(settings: Settings) -> None:
    slow = settings.model_copy(update={"echo_words_per_second": 20.0})
    seen: list[Event] = []

    async with running_server(slow) as live:
        async with live.client.stream("POST", "/sessions/a/chat", json={"message": LONG}) as response:
            async for event in following(response):
                seen.append(event)
                if len(seen) == 8:
                    live.server.should_exit = True
        store = live.app.state.house.open().keeping
        entry = (await store.history.read(LOCAL, "a", limit=1))[0]

    assert (seen[-1].type, seen[-1].data["status"], seen[-1].data["durable"]) == ("done", "interrupted", True)
    assert entry.status == "interrupted"
    assert entry.text == text_of(seen)


async def test_a_server_ends_though_a_feed_is_open(settings: Settings) -> None:
    async with running_server(settings) as live, live.client.stream("GET", "/events") as response:
        events = following(response)
        await anext(events)
        begun = asyncio.get_running_loop().time()

        await live.stop()

        with contextlib.suppress(StopAsyncIteration, httpx.ReadError):
            await anext(events)
    assert asyncio.get_running_loop().time() - begun < 5


async def test_deltas_outside_the_basic_plane_have_offsets_in_code_points(live: Running) -> None:
    async with live.client.stream("POST", "/chat", json={"message": "\U0001f600 \U0001f601 é x"}) as response:
        events = [event async for event in following(response)]

    said = ""
    for event in events:
        if event.type == "delta":
            assert event.data["offset"] == len(said)
            said += event.data["text"]
    assert said.endswith("\U0001f600 \U0001f601 é x")


async def test_cutting_an_incognito_chat_ends_it(live: Running) -> None:
    async with live.client.stream("POST", "/incognito/chat", json={"message": LONG}) as response:
        await anext(following(response))
        speaking = [task for task in asyncio.all_tasks() if "produce" in repr(task.get_coro())]

    await asyncio.wait(speaking, timeout=0.5)

    assert len(speaking) == 1
    assert speaking[0].cancelled()
