from __future__ import annotations

import base64

import httpx
import pytest

OTHER = "http://localhost/v1/apps/other"


async def some(api: httpx.AsyncClient, count: int) -> list[str]:
    """Make sessions, and return their ids in the order of the list."""
    ids = [f"s{n:02}" for n in range(count)]
    for session_id in ids:
        await api.post("/sessions", json={"id": session_id, "metadata": {"even": int(session_id[1:]) % 2 == 0}})
        await api.post(f"/sessions/{session_id}/messages", json={"question": "needle", "answer": "hay"})
    return ids[::-1]


async def ids_of(api: httpx.AsyncClient, path: str, **query: str | int) -> list[str]:
    """Go through all pages."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get(path, params={**query, **cursor})).raise_for_status().json()
        found += [item.get("id") or f"{item['session_id']}/{item['seq']}" for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("limit", [1, 3, 5, 6, 200])
async def test_pages_show_every_session_once(api: httpx.AsyncClient, limit: int) -> None:
    ids = await some(api, 5)

    assert await ids_of(api, "/sessions", limit=limit) == ids


async def test_pages_of_a_filtered_list_go_on_filtered(api: httpx.AsyncClient) -> None:
    ids = await some(api, 6)

    found = await ids_of(api, "/sessions", limit=2, **{"metadata.even": "true"})

    assert found == [session_id for session_id in ids if int(session_id[1:]) % 2 == 0]


async def test_a_cursor_keeps_its_filters_when_they_are_left_out(api: httpx.AsyncClient) -> None:
    await some(api, 6)
    first = (await api.get("/sessions?limit=1&metadata.even=true")).json()

    second = (await api.get("/sessions", params={"limit": 9, "cursor": first["next_cursor"]})).json()

    assert [item["id"] for item in first["items"] + second["items"]] == ["s04", "s02", "s00"]


async def test_pages_of_a_search_show_every_hit_once(api: httpx.AsyncClient) -> None:
    ids = await some(api, 4)

    found = await ids_of(api, "/search", q="needle", limit=2)

    assert len(found) == len(set(found)) == 8
    assert {f"{session_id}/1" for session_id in ids} <= set(found)


async def test_a_search_marks_what_it_found(api: httpx.AsyncClient) -> None:
    await some(api, 1)

    hit = (await api.get("/search?q=need")).json()["items"][0]

    start, end = hit["highlights"][0]
    assert hit["snippet"][start:end] == "needle"


@pytest.mark.parametrize("query", ["q=", "q=+", "q=...", "", "q=" + "+".join("abcdefghijklmnopq")])
async def test_a_search_without_usable_words_is_refused(api: httpx.AsyncClient, query: str) -> None:
    response = await api.get(f"/search?{query}")

    assert response.status_code == 422


async def test_a_cursor_is_unpadded_base64url(api: httpx.AsyncClient) -> None:
    await some(api, 2)

    cursor = (await api.get("/sessions?limit=1")).json()["next_cursor"]

    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


async def test_a_changed_cursor_is_refused(api: httpx.AsyncClient) -> None:
    await some(api, 2)
    cursor = (await api.get("/sessions?limit=1")).json()["next_cursor"]
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))

    for at in (0, 31, 32, len(raw) - 1):
        changed = raw.copy()
        changed[at] ^= 1
        forged = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        response = await api.get("/sessions", params={"cursor": forged})
        assert (response.status_code, response.json()["field"]) == (422, "cursor")


@pytest.mark.parametrize("cursor", ["x", "%00", "====", "a" * 8000, "ä", "é" * 50, "A" * 43])
async def test_a_cursor_that_is_none_is_refused(api: httpx.AsyncClient, cursor: str) -> None:
    response = await api.get("/sessions", params={"cursor": cursor})

    assert response.status_code == 422
    assert "begin again" in response.json()["detail"]


async def test_a_cursor_is_good_for_its_own_list_only(api: httpx.AsyncClient) -> None:
    await some(api, 3)
    cursor = (await api.get("/sessions?limit=1")).json()["next_cursor"]
    mine = (await api.get("/messages?limit=1")).json()["next_cursor"]
    of_one = (await api.get("/sessions/s00/messages?limit=1")).json()["next_cursor"]

    answers = [
        await api.get(f"/sessions?cursor={mine}"),
        await api.get(f"/messages?cursor={cursor}"),
        await api.get(f"/search?q=a&cursor={mine}"),
        await api.get(f"/sessions?state=archived&cursor={cursor}"),
        await api.get(f"/sessions?metadata.even=true&cursor={cursor}"),
        await api.get(f"/sessions/s01/messages?cursor={of_one}"),
        await api.get(f"{OTHER}/sessions?cursor={cursor}"),
    ]

    assert [answer.status_code for answer in answers] == [422] * 7


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "limit=1e3", "state=lost", "include_archived=perhaps", "limt=5", "metadata=x"],
)
async def test_a_malformed_list_query_is_refused(api: httpx.AsyncClient, query: str) -> None:
    response = await api.get(f"/sessions?{query}")

    assert response.status_code == 422
    assert response.json()["code"] == "invalid"


async def test_too_many_metadata_filters_are_refused(api: httpx.AsyncClient) -> None:
    response = await api.get("/sessions?" + "&".join(f"metadata.k{n}=1" for n in range(9)))

    assert response.status_code == 422
