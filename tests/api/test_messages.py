from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "words \u0000 \U0001f600"},
    {"type": "tool_call", "id": "c", "name": "look", "arguments": {"a": [1, 2.5, None]}},
    {"type": "tool_result", "id": "c", "content": None, "is_error": True},
    {"type": "file", "url": "https://example.org/a.png", "media_type": "image/png", "name": "a.png"},
    {"type": "file", "sha256": "0" * 64, "media_type": "text/plain"},
    {"type": "reasoning", "text": "hm"},
    {"type": "data", "name": "n", "value": {"deep": {"er": []}}},
    {"type": "foreign", "format": "openai.responses", "item": {"z": 1, "a": 1.0, "lone": "\ud800"}},
]


async def filled(api: httpx.AsyncClient, count: int) -> None:
    """Make session `a` with `count` messages."""
    await api.put("/sessions/a")
    for begin in range(0, count, 100):
        texts = range(begin + 1, min(count, begin + 100) + 1)
        batch = [{"role": "user", "parts": [{"type": "text", "text": str(n)}]} for n in texts]
        (await api.post("/sessions/a/messages", json={"messages": batch})).raise_for_status()


def seqs(response: httpx.Response) -> list[int]:
    return [item["seq"] for item in response.json()["items"]]


async def test_every_kind_of_part_comes_back_as_it_was(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")
    message = {
        "role": "assistant",
        "parts": PARTS,
        "status": "partial",
        "created_at": "2025-01-02T03:04:05.678901+02:00",
        "agent_name": "billing",
        "model": "m",
        "finish_reason": "length",
        "usage": {"input_tokens": 1, "output_tokens": 2, "cached_tokens": None},
        "duration_ms": 3,
        "sources": [{"title": "t", "url": "u", "snippet": "s", "score": 0.5}],
        "suggestions": ["next?"],
        "query_summary": "sum",
        "error": "model_timeout",
        "metadata": {"a": {"b": 1}},
    }
    body = json.dumps({"messages": [message]}).encode()

    stored = await api.post("/sessions/a/messages", content=body, headers={"Content-Type": "application/json"})

    read = (await api.get("/sessions/a/messages/1")).json()
    assert stored.status_code == 201
    assert stored.json()["items"] == [read]
    assert {name: read[name] for name in message if name != "created_at"} == {
        name: value for name, value in message.items() if name != "created_at"
    }
    assert read["created_at"] == "2025-01-02T01:04:05.678901Z"


async def test_without_parameters_the_newest_fifty_come_ascending(api: httpx.AsyncClient) -> None:
    await filled(api, 120)

    response = await api.get("/sessions/a/messages")

    assert seqs(response) == list(range(71, 121))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=3", [118, 119, 120]),
        ("limit=3&order=desc", [120, 119, 118]),
        ("limit=3&before_seq=10", [7, 8, 9]),
        ("limit=3&after_seq=10", [11, 12, 13]),
        ("limit=3&after_seq=10&order=desc", [120, 119, 118]),
        ("after_seq=10&before_seq=13", [11, 12]),
        ("after_seq=120", []),
        ("before_seq=1", []),
        ("before_seq=0", []),
    ],
)
async def test_bounds_are_exclusive(api: httpx.AsyncClient, query: str, expected: list[int]) -> None:
    await filled(api, 120)

    response = await api.get(f"/sessions/a/messages?{query}")

    assert seqs(response) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=50", [list(range(71, 121)), list(range(21, 71)), list(range(1, 21))]),
        ("limit=50&order=desc", [list(range(120, 70, -1)), list(range(70, 20, -1)), list(range(20, 0, -1))]),
        ("limit=50&after_seq=0", [list(range(1, 51)), list(range(51, 101)), list(range(101, 121))]),
        ("limit=60", [list(range(61, 121)), list(range(1, 61))]),
    ],
)
async def test_the_cursor_leads_through_everything_once(
    api: httpx.AsyncClient, query: str, expected: list[list[int]]
) -> None:
    await filled(api, 120)
    pages = []
    cursor = None

    while True:
        more = f"&cursor={cursor}" if cursor else ""
        response = await api.get(f"/sessions/a/messages?{query}{more}")
        pages.append(seqs(response))
        cursor = response.json()["next_cursor"]
        if cursor is None:
            break

    assert pages == expected


async def test_a_turn_is_stored_as_two_messages(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")

    response = await api.post(
        "/sessions/a/messages", json={"question": "q", "answer": "a", "sources": [{"title": "t"}]}
    )

    question, answer = response.json()["items"]
    assert (question["role"], question["parts"][0]["text"]) == ("user", "q")
    assert (answer["role"], answer["sources"][0]["title"]) == ("assistant", "t")
    assert (await api.get("/sessions/a")).json()["title"] == "q"


async def test_a_repeated_append_returns_the_first_messages(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")
    body = {"question": "q", "answer": "a"}

    first = await api.post("/sessions/a/messages", json=body, headers={"Idempotency-Key": "k"})
    repeat = await api.post("/sessions/a/messages", json=body, headers={"Idempotency-Key": "k"})
    other = await api.post("/sessions/a/messages", json={**body, "answer": "b"}, headers={"Idempotency-Key": "k"})

    assert (first.status_code, repeat.status_code, other.status_code) == (201, 200, 409)
    assert first.json() == repeat.json()
    assert other.json()["code"] == "id_reused"
    assert (await api.get("/sessions/a")).json()["message_count"] == 2


async def test_an_append_to_another_last_seq_is_refused(api: httpx.AsyncClient) -> None:
    await filled(api, 2)

    response = await api.post("/sessions/a/messages", json={"question": "q", "answer": "a", "expected_last_seq": 1})

    assert (response.status_code, response.json()["code"], response.json()["last_seq"]) == (409, "seq_conflict", 2)


async def test_a_refused_batch_leaves_nothing(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")
    fine = {"role": "user", "parts": [{"type": "text", "text": "x"}]}
    large = {"role": "user", "parts": [{"type": "text", "text": "ä" * 200_000}]}

    response = await api.post("/sessions/a/messages", json={"messages": [fine, large]})

    assert (response.status_code, response.json()["code"]) == (413, "limit_exceeded")
    assert (await api.get("/sessions/a")).json()["message_count"] == 0


async def test_messages_of_a_missing_session_are_not_found(api: httpx.AsyncClient) -> None:
    read = await api.get("/sessions/nobody/messages")
    written = await api.post("/sessions/nobody/messages", json={"question": "q", "answer": "a"})

    assert (read.status_code, written.status_code) == (404, 404)


async def test_a_session_comes_with_its_newest_messages(api: httpx.AsyncClient) -> None:
    await filled(api, 60)

    response = await api.get("/sessions/a?include=messages")

    assert [message["seq"] for message in response.json()["messages"]] == list(range(11, 61))


async def test_a_redacted_message_keeps_its_place(api: httpx.AsyncClient) -> None:
    await filled(api, 3)

    response = await api.delete("/sessions/a/messages/2")

    items = (await api.get("/sessions/a/messages")).json()["items"]
    assert response.json()["redacted"] is True
    assert [(item["seq"], bool(item["parts"])) for item in items] == [(1, True), (2, False), (3, True)]


async def test_feedback_is_set_replaced_and_removed(api: httpx.AsyncClient) -> None:
    await filled(api, 1)

    up = await api.put("/sessions/a/messages/1/feedback", json={"rating": "up", "comment": "good"})
    down = await api.put("/sessions/a/messages/1/feedback", json={"rating": "down"})
    none = await api.put("/sessions/a/messages/1/feedback", json={})

    assert up.json()["feedback"] == {"rating": "up", "comment": "good"}
    assert down.json()["feedback"] == {"rating": "down", "comment": None}
    assert none.json()["feedback"] is None


async def test_clearing_removes_everything_and_seqs_go_on(api: httpx.AsyncClient) -> None:
    await filled(api, 3)

    cleared = await api.delete("/sessions/a/messages")
    stored = await api.post("/sessions/a/messages", json={"question": "q", "answer": "a"})

    assert cleared.json()["message_count"] == 0
    assert [item["seq"] for item in stored.json()["items"]] == [4, 5]


async def test_the_last_message_or_turn_is_taken_back(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")
    for n in range(2):
        await api.post("/sessions/a/messages", json={"question": f"q{n}", "answer": f"a{n}"})

    last = await api.post("/sessions/a/messages/pop")
    turn = await api.post("/sessions/a/messages/pop", json={"turn": True})
    rest = await api.post("/sessions/a/messages/pop", json={"turn": True})
    nothing = await api.post("/sessions/a/messages/pop")

    assert [seqs(answer) for answer in (last, turn, rest, nothing)] == [[4], [3], [1, 2], []]


async def test_my_messages_of_all_sessions_come_newest_first(api: httpx.AsyncClient) -> None:
    for session_id in ("a", "b"):
        await api.put(f"/sessions/{session_id}")
        await api.post(f"/sessions/{session_id}/messages", json={"question": "q", "answer": "a"})
    found = []
    cursor = None

    while True:
        page = (await api.get("/messages", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        found += [(item["session_id"], item["seq"]) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    users = (await api.get("/messages?role=user")).json()["items"]
    assert found == [("b", 2), ("b", 1), ("a", 2), ("a", 1)]
    assert {item["role"] for item in users} == {"user"}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "robot", "parts": []},
        {"role": "user"},
        {"role": "user", "parts": [{"type": "picture"}]},
        {"role": "user", "parts": [{"type": "text"}]},
        {"role": "user", "parts": [{"type": "text", "text": 1}]},
        {"role": "user", "parts": [{"type": "text", "text": "x", "more": 1}]},
        {"role": "user", "parts": [], "seq": 7},
        {"role": "user", "parts": [], "created_at": "2025-01-01T00:00:00"},
        {"role": "user", "parts": [], "created_at": "0001-01-01T00:00:00+14:00"},
        {"role": "user", "parts": [], "status": "streaming"},
        {"role": "user", "parts": [], "duration_ms": 2**53},
        {"role": "user", "parts": [], "duration_ms": "1"},
        {"role": "user", "parts": [{"type": "file", "media_type": "a/b"}]},
    ],
)
async def test_a_malformed_message_is_refused_with_its_place(
    api: httpx.AsyncClient, message: dict[str, object]
) -> None:
    await api.put("/sessions/a")

    response = await api.post("/sessions/a/messages", json={"messages": [message]})

    assert response.status_code == 422
    assert response.json()["code"] == "invalid"
    assert "messages" in response.json()["field"]
    assert (await api.get("/sessions/a")).json()["last_seq"] == 0


async def test_a_question_shows_one_line_about_its_turn(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")
    question, answer = "Where is the blue chair that I ordered? " * 5, "It left the warehouse on Monday. " * 9
    await api.post("/sessions/a/messages", json={"question": question, "answer": answer})
    await api.post("/sessions/a/messages", json={"question": "Thanks!", "answer": "Bye."})

    items = (await api.get("/sessions/a/messages")).json()["items"]
    whole = (await api.get("/sessions/a?include=messages")).json()["messages"]
    single = [(await api.get(f"/sessions/a/messages/{seq}")).json() for seq in range(1, 5)]

    lines = [item["query_summary"] for item in items]
    assert items == whole == single
    assert lines == [
        "Where is the blue chair that I ordered? Where is the blue… → It left the warehouse on Monday. It…",
        None,
        "Thanks! → Bye.",
        None,
    ]
    assert all(len(line or "") <= 100 for line in lines)
