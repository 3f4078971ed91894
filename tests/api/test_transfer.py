from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from chatkeep.api.bodies import BoundedRequest
from chatkeep.api.lines import lines_of
from chatkeep.api.routes import transfer
from chatkeep.services.jsonl import MAX_LINE_BYTES


def told(exported: httpx.Response) -> list[dict[str, object]]:
    """Return the messages of an export without their ids, which an import makes anew."""
    lines = [json.loads(line) for line in exported.text.splitlines()]
    return [{name: value for name, value in line.items() if name != "id"} for line in lines[1:]]


async def test_an_export_is_imported_into_another_app_and_again_without_change(api: httpx.AsyncClient) -> None:
    await api.post("/sessions/a/chat", json={"message": "one", "stream": False})
    await api.post("/sessions/a/messages/1/edit", json={"message": "two \U0001f600", "stream": False})
    exported = await api.get("/sessions/a/export")
    other = "http://localhost/v1/apps/other"

    first = await api.post(f"{other}/import", content=exported.content)
    again = await api.post(f"{other}/import", content=exported.content)

    assert exported.headers["content-type"] == "application/x-ndjson"
    assert exported.headers["content-disposition"] == 'attachment; filename="a.jsonl"'
    assert (first.json()["created"], first.json()["messages"]) == (1, 4)
    assert (again.json()["unchanged"], again.json()["messages"]) == (1, 0)
    assert told(await api.get(f"{other}/sessions/a/export")) == told(exported)


async def test_everything_is_exported_at_once_without_the_trash(api: httpx.AsyncClient) -> None:
    empty = await api.get("/export")
    for name in ("a", "b", "c"):
        await api.post(f"/sessions/{name}/chat", json={"message": name, "stream": False})
    await api.patch("/sessions/b", json={"state": "archived"})
    await api.delete("/sessions/c")

    exported = await api.get("/export")
    report = await api.post("http://localhost/v1/apps/other/import", content=exported.content)

    assert (empty.status_code, empty.content) == (200, b"")
    assert exported.headers["content-type"] == "application/x-ndjson"
    assert exported.headers["content-disposition"] == 'attachment; filename="default.jsonl"'
    assert [line["id"] for line in map(json.loads, exported.text.splitlines()) if line["kind"] == "session"] == [
        "b",
        "a",
    ]
    assert (report.json()["created"], report.json()["messages"]) == (2, 4)


async def test_a_dry_run_tells_what_would_happen_and_does_nothing(api: httpx.AsyncClient) -> None:
    await api.post("/sessions/a/chat", json={"message": "one", "stream": False})
    exported = await api.get("/sessions/a/export")
    await api.delete("/sessions/a?permanent=true")

    report = await api.post("/import?dry_run=true", content=exported.content)

    assert (report.json()["dry_run"], report.json()["created"], report.json()["messages"]) == (True, 1, 2)
    assert (await api.get("/sessions/a")).status_code == 404


async def test_a_markdown_export_is_a_document(api: httpx.AsyncClient) -> None:
    await api.post("/sessions/a/chat", json={"message": "one", "stream": False})

    response = await api.get("/sessions/a/export?format=markdown")

    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.text.startswith("# one\n")


async def test_an_export_of_nothing_is_not_found(api: httpx.AsyncClient) -> None:
    answers = [await api.get("/sessions/x/export"), await api.get("/sessions/x/export?format=markdown")]

    assert [answer.status_code for answer in answers] == [404, 404]


async def test_unusable_lines_are_reported_and_the_others_imported(api: httpx.AsyncClient) -> None:
    good = json.dumps({"kind": "session", "version": 1, "id": "good"})
    message = json.dumps({"kind": "message", "session_id": "good", "seq": 1, "role": "user", "parts": []})
    body = b"{\n\xff\xfe\n" + b"x" * (MAX_LINE_BYTES + 5) + f"\n\n{good}\n{message}".encode()

    report = (await api.post("/import", content=body)).json()

    assert (report["created"], report["messages"], report["lines"]) == (1, 1, 6)
    assert report["invalid"] == 3
    assert (await api.get("/sessions/good")).json()["message_count"] == 1


async def test_an_empty_import_changes_nothing(api: httpx.AsyncClient) -> None:
    response = await api.post("/import", content=b"")

    assert (response.status_code, response.json()["lines"]) == (200, 0)


async def test_lines_are_found_however_the_bytes_come() -> None:
    text = "one\ntwo \U0001f600\n\nthree"

    async def chunks(size: int) -> AsyncIterator[bytes]:
        raw = text.encode()
        for begin in range(0, len(raw), size):
            yield raw[begin : begin + size]

    for size in (1, 2, 3, 100):
        assert [line async for line in lines_of(chunks(size))] == text.split("\n")


async def test_a_line_without_end_is_not_held() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * (1 << 20)

    lines = [line async for line in lines_of(chunks())]

    assert [len(line) for line in lines] == [MAX_LINE_BYTES + 1]


async def test_an_import_beyond_the_limit_is_refused_even_without_a_length(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.ImportRoute, "max_body_bytes", 1000)
    line = json.dumps({"role": "user", "text": "x" * 100}).encode() + b"\n"

    async def chunked() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield line

    answers = [await api.post("/import", content=chunked()), await api.post("/import", content=line * 20)]

    assert [answer.status_code for answer in answers] == [413, 413]
    assert BoundedRequest.max_bytes > 1000
