from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.api.conftest import client_of
from tests.api.sse import events_of, text_of

from chatkeep.api.app import create_app
from chatkeep.settings import Settings

WHOLE = {"Accept": "application/json"}


async def test_a_stream_tells_the_run_first_and_done_last(api: httpx.AsyncClient) -> None:
    response = await api.post("/chat", json={"message": "hello there"})

    events = events_of(response.text)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert events[0].type == "run"
    assert events[0].data["run_id"] == response.headers["chatkeep-run-id"]
    assert text_of(events).endswith("You said: hello there")
    assert (events[-1].type, events[-1].data["durable"]) == ("done", True)


async def test_only_stored_events_have_ids_and_those_count_up(api: httpx.AsyncClient) -> None:
    response = await api.post("/chat", json={"message": "hello there"})

    ids = [int(event.id) for event in events_of(response.text) if event.id is not None]
    assert ids == list(range(1, len(ids) + 1))


@pytest.mark.parametrize(("extra", "headers"), [({"stream": False}, {}), ({}, WHOLE), ({"stream": True}, WHOLE)])
async def test_one_object_is_answered_on_demand(
    api: httpx.AsyncClient, extra: dict[str, bool], headers: dict[str, str]
) -> None:
    response = await api.post("/sessions/a/chat", json={"message": "hi", **extra}, headers=headers)

    answer = response.json()
    assert (answer["session_id"], answer["message"], answer["message_seq"]) == ("a", "hi", 2)
    assert answer["answer"].endswith("You said: hi")
    assert answer["status"] == "complete"


async def test_a_client_that_takes_events_as_well_gets_events(api: httpx.AsyncClient) -> None:
    response = await api.post(
        "/chat", json={"message": "hi"}, headers={"Accept": "application/json, text/event-stream"}
    )

    assert response.headers["content-type"].startswith("text/event-stream")


async def test_a_chat_creates_its_session_and_names_it(api: httpx.AsyncClient) -> None:
    await api.post("/sessions/mine/chat", json={"message": "Where is my refund?", "stream": False})

    session = (await api.get("/sessions/mine")).json()
    assert (session["title"], session["message_count"]) == ("Where is my refund?", 2)
    assert [s["id"] for s in (await api.get("/sessions")).json()["items"]] == ["mine"]


async def test_a_repeated_chat_is_answered_once(api: httpx.AsyncClient) -> None:
    body = {"message": "hi", "stream": False}

    first = await api.post("/chat", json=body, headers={"Idempotency-Key": "k"})
    repeat = await api.post("/chat", json=body, headers={"Idempotency-Key": "k"})
    other = await api.post("/chat", json={**body, "message": "ho"}, headers={"Idempotency-Key": "k"})

    assert first.json() == repeat.json()
    assert (other.status_code, other.json()["code"]) == (409, "id_reused")
    assert (await api.get(f"/sessions/{first.json()['session_id']}")).json()["message_count"] == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"message": ""}, 422),
        ({"message": " \n"}, 422),
        ({"message": 1}, 422),
        ({}, 422),
        ({"message": "x", "when_busy": "explode"}, 422),
        ({"message": "x", "model": "gpt-17"}, 422),
        ({"message": "x", "agent": "nobody"}, 404),
        ({"message": "x", "more": 1}, 422),
        ({"message": "x" * 300_000}, 413),
    ],
)
async def test_a_refused_chat_creates_nothing(api: httpx.AsyncClient, body: dict[str, object], status: int) -> None:
    response = await api.post("/sessions/a/chat", json=body)

    assert response.status_code == status
    assert (await api.get("/sessions/a")).status_code == 404


async def test_a_run_is_told_with_its_outcome(api: httpx.AsyncClient) -> None:
    answer = (await api.post("/sessions/a/chat", json={"message": "hi", "stream": False})).json()

    run = (await api.get(f"/runs/{answer['run_id']}")).json()

    assert (run["session_id"], run["status"], run["message_seq"], run["error"]) == ("a", "complete", 2, None)


async def test_a_finished_run_is_followed_from_any_event(api: httpx.AsyncClient) -> None:
    answer = (await api.post("/sessions/a/chat", json={"message": "hi", "stream": False})).json()
    path = f"/runs/{answer['run_id']}/events"

    everything = events_of((await api.get(path)).text)
    behind_two = events_of((await api.get(path, headers={"Last-Event-ID": "2"})).text)
    by_query = events_of((await api.get(f"{path}?after=2")).text)

    assert text_of(everything) == answer["answer"]
    assert behind_two == by_query == everything[2:]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9007199254740992"])
async def test_a_last_event_id_that_is_no_number_is_refused(api: httpx.AsyncClient, last: str) -> None:
    answer = (await api.post("/chat", json={"message": "hi", "stream": False})).json()

    response = await api.get(f"/runs/{answer['run_id']}/events", headers={"Last-Event-ID": last})

    assert response.status_code == 422


async def test_runs_that_are_missing_are_not_found(api: httpx.AsyncClient) -> None:
    answers = [await api.get("/runs/x"), await api.get("/runs/x/events"), await api.post("/runs/x/cancel")]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


async def test_an_edit_begins_a_branch_beside_the_question(api: httpx.AsyncClient) -> None:
    await api.post("/sessions/a/chat", json={"message": "one", "stream": False})

    response = await api.post("/sessions/a/messages/1/edit", json={"message": "two", "stream": False})

    active = (await api.get("/sessions/a/messages")).json()["items"]
    everything = (await api.get("/sessions/a/messages?path=all")).json()["items"]
    assert response.json()["message"] == "two"
    assert [item["seq"] for item in active] == [3, 4]
    assert active[0]["siblings"] == [1, 3]
    assert "siblings" not in active[1]
    assert [item["seq"] for item in everything] == [1, 2, 3, 4]


async def test_a_regenerated_answer_stands_beside_the_first(api: httpx.AsyncClient) -> None:
    await api.post("/sessions/a/chat", json={"message": "one", "stream": False})

    response = await api.post("/sessions/a/messages/2/regenerate", headers=WHOLE)

    active = (await api.get("/sessions/a/messages")).json()["items"]
    assert response.json()["message"] == "one"
    assert [item["seq"] for item in active] == [1, 3]
    assert active[1]["siblings"] == [2, 3]


async def test_the_head_is_switched_back(api: httpx.AsyncClient) -> None:
    await api.post("/sessions/a/chat", json={"message": "one", "stream": False})
    await api.post("/sessions/a/messages/1/edit", json={"message": "two", "stream": False})

    response = await api.put("/sessions/a/head", json={"seq": 2})
    stale = await api.put("/sessions/a/head", json={"seq": 4, "expected_last_seq": 2})
    nowhere = await api.put("/sessions/a/head", json={"seq": 9})
    whole = await api.put("/sessions/a/head", json={"seq": 3, "whole_branch": True})
    await api.put("/sessions/a/head", json={"seq": 2})

    assert response.json()["head_seq"] == 2
    assert whole.json()["head_seq"] == 4
    assert [item["seq"] for item in (await api.get("/sessions/a/messages")).json()["items"]] == [1, 2]
    assert (stale.status_code, nowhere.status_code) == (409, 409)


async def test_a_fork_is_a_session_of_its_own(api: httpx.AsyncClient) -> None:
    for message in ("one", "two"):
        await api.post("/sessions/a/chat", json={"message": message, "stream": False})

    first = await api.post("/sessions/a/fork", json={"at_seq": 2, "title": "F"}, headers={"Idempotency-Key": "k"})
    repeat = await api.post("/sessions/a/fork", json={"at_seq": 2, "title": "F"}, headers={"Idempotency-Key": "k"})
    other = await api.post("/sessions/a/fork", json={"at_seq": 1}, headers={"Idempotency-Key": "k"})

    fork = first.json()
    assert first.status_code == 201
    assert (fork["title"], fork["message_count"], fork["metadata"]["forked_from"]["seq"]) == ("F", 2, 2)
    assert (repeat.status_code, repeat.json()["id"]) == (200, fork["id"])
    assert (other.status_code, other.json()["code"]) == (409, "id_reused")


async def test_agents_are_listed_without_their_instructions(api: httpx.AsyncClient) -> None:
    agents = (await api.get("/agents")).json()["items"]
    models = (await api.get("/models")).json()["items"]

    assert [agent["name"] for agent in agents] == ["billing", "smalltalk"]
    assert not any("instructions" in agent for agent in agents)
    assert models == [{"name": "echo", "default": True}]


async def test_a_disabled_agent_does_not_answer(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")

    switched = await api.put("/sessions/a/agents", json={"disabled": ["billing"]})
    refused = await api.post("/sessions/a/chat", json={"message": "refund", "agent": "billing", "stream": False})
    answered = await api.post("/sessions/a/chat", json={"message": "refund", "stream": False})

    read = (await api.get("/sessions/a/agents")).json()
    assert read == switched.json()
    assert [(agent["name"], agent["enabled"]) for agent in read["items"]] == [("billing", False), ("smalltalk", True)]
    assert refused.status_code == 422
    assert answered.status_code == 200
    assert (await api.get("/sessions/a/messages/2")).json()["agent_name"] == "smalltalk"


async def test_an_agent_cannot_be_switched_both_ways(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")

    both = await api.put("/sessions/a/agents", json={"enabled": ["billing"], "disabled": ["billing"]})
    unknown = await api.put("/sessions/a/agents", json={"enabled": ["nobody"]})

    assert (both.status_code, unknown.status_code) == (422, 404)


async def test_an_incognito_chat_leaves_nothing(api: httpx.AsyncClient) -> None:
    transcript = [{"role": "user", "parts": [{"type": "text", "text": "I am Ada."}]}]

    stream = await api.post("/incognito/chat", json={"transcript": transcript, "message": "secret word"})
    whole = await api.post("/incognito/chat", json={"message": "secret word", "stream": False})

    events = events_of(stream.text)
    assert all(event.id is None for event in events)
    assert "session_id" not in stream.text
    assert text_of(events) == whole.json()["answer"]
    assert (events[-1].type, events[-1].data["durable"]) == ("done", False)
    assert set(whole.json()) == {"message", "answer", "sources", "suggestions", "usage", "status"}
    assert (await api.get("/sessions?include_archived=true")).json()["items"] == []
    assert (await api.get("/search?q=secret")).json()["items"] == []


async def test_an_incognito_chat_is_written_down_nowhere(
    api: httpx.AsyncClient, capfd: pytest.CaptureFixture[str]
) -> None:
    await api.post("/incognito/chat", json={"message": "secret word", "stream": False})

    metrics = (await api.get("http://localhost/metrics")).text
    written = "".join(capfd.readouterr())
    assert "incognito" not in metrics
    assert "incognito" not in written
    assert "secret" not in written


async def test_a_second_message_waits_when_it_shall(api: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(
            api.post("/sessions/a/chat", json={"message": f"m{n}", "when_busy": "queue", "stream": False})
            for n in range(3)
        )
    )

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert sorted(answer.json()["message_seq"] for answer in answers) == [2, 4, 6]


async def test_a_model_that_cannot_be_reached_is_told(settings: Settings) -> None:
    unreachable = settings.model_copy(update={"model": "ollama:none", "model_base_url": "http://127.0.0.1:9"})
    app = create_app(unreachable)
    async with (
        app.router.lifespan_context(app),
        client_of(httpx.ASGITransport(app), "http://localhost") as api,
    ):
        whole = await api.post("/sessions/a/chat", json={"message": "hi", "stream": False})
        events = events_of((await api.post("/sessions/b/chat", json={"message": "hi"})).text)
        nowhere = await api.post("/incognito/chat", json={"message": "hi", "stream": False})
        run = (await api.get(f"/runs/{whole.json()['run_id']}")).json()
        question = (await api.get("/sessions/a/messages/1")).json()

    assert [(answer.status_code, answer.json()["code"]) for answer in (whole, nowhere)] == [
        (502, "model_unavailable")
    ] * 2
    assert (run["status"], run["error"]) == ("failed", "model_unavailable")
    assert [event.data["code"] for event in events if event.type == "error"] == ["model_unavailable"]
    assert events[-1].data["status"] == "failed"
    assert question["parts"][0]["text"] == "hi"
