"""Input that nobody means well with: a clear refusal, and nothing half-written."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from pydantic import SecretStr
from tests.api.conftest import BASE, Running, client_of

from chatkeep.api import drain
from chatkeep.api.app import create_app
from chatkeep.settings import Settings

ENDLESS = {"/v1/apps/{app}/events"}
PROPERTY = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

KNOWN = Settings(
    store_url="memory://",
    model="echo",
    context_relevance="bm25",
    echo_words_per_second=0,
    cursor_secret=SecretStr("x" * 32),
)
DOCUMENT: dict[str, Any] = create_app(KNOWN).openapi()
OPERATIONS = [
    (method, path) for path, operations in DOCUMENT["paths"].items() for method in operations if path not in ENDLESS
]

texts = st.text(max_size=30) | st.sampled_from(["a", "new", "..", "1", "0", "-1", "9" * 30, "\x00", "٣", "1_0", "null"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(2**64)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(st.characters(), max_size=20)
    | st.just("\ud800")
)
FIELDS = sorted(
    {name for schema in DOCUMENT["components"]["schemas"].values() for name in schema.get("properties", {})}
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | texts, inner, max_size=5),
    max_leaves=15,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "tool_call", "tool_result", "file", "data", "foreign", "reasoning", "other"])},
    optional=dict.fromkeys(("text", "id", "name", "arguments", "content", "item", "format", "value", "url"), values),
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "x"]), "parts": st.lists(parts, max_size=3)},
    optional=dict.fromkeys(("metadata", "created_at", "usage", "sources", "suggestions", "status"), values),
)
bodies = values | st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(messages, max_size=3),
        "transcript": st.lists(messages, max_size=2),
        "message": texts | values,
        "question": texts | values,
        "answer": texts | values,
        "title": texts | values,
        "metadata": values,
        "seq": values,
        "at_seq": values,
        "rating": values,
        "id": texts | values,
        "stream": st.sampled_from([False]) | values,
        "parent_seq": values,
        "expected_last_seq": values,
    },
)
raw_bodies = st.binary(max_size=60) | bodies.map(lambda value: json.dumps(value).encode())
queries = st.dictionaries(
    st.sampled_from(["limit", "cursor", "state", "before_seq", "after_seq", "order", "path", "q", "after", "include"])
    | texts.map(lambda text: f"metadata.{text}")
    | texts,
    texts,
    max_size=4,
)
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
headers = st.dictionaries(
    st.sampled_from(["If-Match", "Idempotency-Key", "Last-Event-ID", "Accept", "Content-Type", "X-Other"]),
    header_values | st.sampled_from(["application/json", "*", '"1.0"', 'W/"', "1", "text/event-stream"]),
    max_size=3,
)


async def stored(client: httpx.AsyncClient) -> tuple[int, int, str]:
    """Return what there is of session `a`."""
    session = (await client.get("/sessions/a")).json()
    return session["last_seq"], session["message_count"], session["title"]


@PROPERTY
@given(
    operation=st.sampled_from(OPERATIONS),
    segments=st.lists(texts.filter(bool), min_size=4, max_size=4),
    proper=st.booleans(),
    body=raw_bodies,
    query=queries,
    more=headers,
    typed=st.booleans(),
)
async def test_no_request_is_a_fault_of_ours_and_a_refused_one_writes_nothing(
    api: httpx.AsyncClient,
    operation: tuple[str, str],
    segments: list[str],
    proper: bool,  # noqa: FBT001 -- drawn
    body: bytes,
    query: dict[str, str],
    more: dict[str, str],
    typed: bool,  # noqa: FBT001 -- drawn
) -> None:
    await api.delete("/me")
    await api.put("/sessions/a", json={"title": "T"})
    before = await stored(api)
    method, template = operation
    names = {"app": "default", "session_id": "a", "run_id": "r", "seq": "1"}
    if not proper:
        names = dict(zip(names, segments, strict=True))
    path = template.format(**{name: quote(value, safe="") for name, value in names.items()})
    if typed:
        more = {**more, "Content-Type": "application/json"}

    response = await api.request(
        method, f"http://localhost{path}", params=query, content=None if method == "get" else body, headers=more
    )

    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"]
        assert await stored(api) == before


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "json"),
        (b"\xff\xfe", "json"),
        (b'"\xed\xa0\x80"', "json"),
        (b"[" * 100_000, "json"),
        (b'{"title": ' + b'{"a":' * 2_000 + b"1" + b"}" * 2_001, "json"),
        (b'{"title": NaN}', "json"),
        (b'{"metadata": {"a": Infinity}}', "json"),
        (b'{"metadata": {"a": 1e999}}', "json"),
        (b'{"metadata": {"a": ' + b"9" * 5_000 + b"}}", "json"),
        (b'{"metadata": {"a": ' + b"9" * 2_000 + b"}}", "json"),
        (b'{"title": "a", "title": "b"}', "json"),
        (b'{"title": "\\ud800"}', "json"),
        (b'{"metadata": {"a": "\\ud800"}}', "json"),
        (b'{"metadata": {"\\ud800": 1}}', "json"),
        (b'{"title": null}', "json"),
        (b"[]", "json"),
        (b"1", "json"),
        (b'{"unknown": 1}', "json"),
    ],
)
async def test_a_body_that_is_no_good_json_is_invalid(api: httpx.AsyncClient, body: bytes, kind: str) -> None:
    response = await api.post("/sessions", content=body, headers={"Content-Type": f"application/{kind}"})

    assert response.status_code == 422, response.text
    assert response.json()["code"] == "invalid"
    assert (await api.get("/sessions")).json()["items"] == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"])
async def test_a_body_that_is_not_called_json_is_refused(api: httpx.AsyncClient, kind: str) -> None:
    response = await api.post("/sessions", content=b'{"id": "a"}', headers={"Content-Type": kind})

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_limit_is_refused(live: Running, chunked: bool) -> None:  # noqa: FBT001 -- a parameter
    piece = b" " * 65_536

    async def chunks() -> Any:
        for _ in range(40):
            yield piece

    response = await live.client.post(
        "/sessions",
        content=chunks() if chunked else piece * 40,
        headers={"Content-Type": "application/json"},
    )

    assert (response.status_code, response.json()["code"]) == (413, "limit_exceeded")


def _head(length: int, more: str = "") -> bytes:
    kind = "Content-Type: application/json\r\nConnection: close"
    return (
        f"POST {BASE}/sessions HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {length}\r\n{more}\r\n".encode()
    )


async def _sent(live: Running, request: bytes) -> bytes:
    """Return the answer to a client that reads only when it has sent everything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def test_a_refusal_is_heard_by_a_client_that_is_still_sending(live: Running) -> None:
    size = 10 * 1024 * 1024

    assert (await _sent(live, _head(size) + b" " * size)).split()[1] == b"413"


async def test_a_refusal_does_not_wait_for_a_client_that_stops_sending(
    live: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "MAX_SECONDS", 0.2)

    assert (await _sent(live, _head(10_000_000) + b" " * 1_000_000)).split()[1] == b"413"


async def test_a_client_that_asks_before_it_sends_is_not_told_to_go_on(live: Running) -> None:
    assert (await _sent(live, _head(10_000_000, "Expect: 100-continue\r\n"))).split()[1] == b"413"


async def test_metadata_beyond_its_limit_is_refused(api: httpx.AsyncClient) -> None:
    response = await api.post("/sessions", json={"metadata": {"a": "x" * 17_000}})

    assert (response.status_code, response.json()["code"]) == (413, "limit_exceeded")


async def test_text_may_hold_what_text_can_hold(api: httpx.AsyncClient) -> None:
    text = "a\x00b\u202e\U0010ffff\r\n\x1b[31m"

    created = await api.post("/sessions", json={"id": "a", "title": text, "metadata": {text: text}})

    read = (await api.get("/sessions/a")).json()
    assert created.status_code == 201
    assert (read["title"], read["metadata"]) == (text, {text: text})


@pytest.mark.parametrize("seq", ["0", "-1", "9007199254740992", "x", "%00", "1e3", "9" * 400])
async def test_a_seq_that_cannot_be_is_refused(api: httpx.AsyncClient, seq: str) -> None:
    await api.put("/sessions/a")

    response = await api.get(f"/sessions/a/messages/{seq}")

    assert response.status_code == 422


@pytest.mark.parametrize("seq", [9007199254740991, 2**31, 5])
async def test_a_seq_that_is_not_there_is_not_found(api: httpx.AsyncClient, seq: int) -> None:
    await api.put("/sessions/a")

    answers = [
        await api.get(f"/sessions/a/messages/{seq}"),
        await api.delete(f"/sessions/a/messages/{seq}"),
        await api.put(f"/sessions/a/messages/{seq}/feedback", json={"rating": "up"}),
        await api.post(f"/sessions/a/messages/{seq}/edit", json={"message": "x"}),
        await api.post(f"/sessions/a/messages/{seq}/regenerate"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 5


@pytest.mark.parametrize("session_id", ["a%2Fb", "a%00", "%F0%9F%98%80", "a%20b", "%ff", "x" * 129, "new/messages"])
async def test_an_id_that_cannot_be_is_no_session(api: httpx.AsyncClient, session_id: str) -> None:
    response = await api.get(f"/sessions/{session_id}")

    assert response.status_code in (404, 413, 422)


@pytest.mark.parametrize(
    "target", ["/v1/apps/../../etc/passwd", "//", "/v1/apps/%2e%2e/sessions", "/\x7f", "/%zz", "/?%ff=%ff"]
)
async def test_a_strange_target_is_answered(live: Running, target: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    status = int((await asyncio.wait_for(reader.read(), 5)).split()[1])

    writer.close()
    assert status < 500


@pytest.mark.parametrize(
    "head",
    [
        b"POST {base}/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST {base}/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET {base}/sessions HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET {base}/sessions?q=" + b"y" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET {base}/sessions HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: \xff\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_a_request_that_is_no_http_is_refused(live: Running, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(head.replace(b"{base}", BASE.encode()))
    writer.write_eof()

    answer = b""
    with suppress(ConnectionResetError):  # the server hangs up before it has read everything
        answer = await asyncio.wait_for(reader.read(), 5)

    writer.close()
    assert not answer or int(answer.split()[1]) < 500
    assert (await live.client.get("/sessions")).status_code == 200


async def test_headers_are_read_whatever_their_bytes(app: FastAPI) -> None:
    async with client_of(httpx.ASGITransport(app), "http://localhost") as client:
        responses = [
            await client.post("/sessions", headers=[(b"Idempotency-Key", b"\xff\xfe")]),
            await client.get("/sessions", headers=[(b"Content-Length", b"x")]),
            await client.post("/sessions", headers=[(b"Content-Type", b"\xff"), (b"Content-Length", b"9" * 30)]),
        ]

    assert [response.status_code for response in responses] == [422, 200, 415]
