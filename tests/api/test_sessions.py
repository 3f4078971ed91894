from __future__ import annotations

import httpx
import pytest

from chatkeep.domain.ids import derived_id
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import HIDDEN_UNTIL_MESSAGE, HIDDEN_UNTIL_REVEAL, NewSession
from chatkeep.ports.store import Store

LOCAL = Scope("default", "default", "local")


async def test_a_created_session_has_the_fields_that_clients_rely_on(api: httpx.AsyncClient) -> None:
    response = await api.post("/sessions", json={"title": "Refund", "metadata": {"n": 1}})

    session = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/apps/default/sessions/{session['id']}"
    assert set(session) == {
        "id", "app", "title", "title_source", "state", "pinned_at", "created_at", "modified_at", "expires_at",
        "message_count", "last_seq", "head_seq", "active_run_id", "revision", "metadata",
    }  # fmt: skip
    assert (session["app"], session["title"], session["title_source"]) == ("default", "Refund", "user")
    assert session["created_at"].endswith("Z")


async def test_a_session_is_created_without_a_body_too(api: httpx.AsyncClient) -> None:
    response = await api.post("/sessions")

    assert response.status_code == 201
    assert response.json()["title"] == ""


async def test_an_empty_session_is_listed_at_once(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "a"})

    listed = (await api.get("/sessions")).json()

    assert [session["id"] for session in listed["items"]] == ["a"]
    assert listed["next_cursor"] is None


async def test_a_taken_id_is_refused(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "a"})

    response = await api.post("/sessions", json={"id": "a"})

    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "session_exists"


@pytest.mark.parametrize("given", [{}, {"id": "a"}])
async def test_a_repeated_creation_returns_the_first_session(api: httpx.AsyncClient, given: dict[str, str]) -> None:
    body = {"title": "T", "metadata": {"a": [1, 2]}, "state": "pinned", **given}

    first = await api.post("/sessions", json=body, headers={"Idempotency-Key": "k"})
    repeat = await api.post("/sessions", json=body, headers={"Idempotency-Key": "k"})

    assert (first.status_code, repeat.status_code) == (201, 200)
    assert first.json() == repeat.json()
    assert first.json()["state"] == "pinned"
    assert len((await api.get("/sessions")).json()["items"]) == 1


async def test_a_creation_key_with_another_body_is_refused(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"title": "one"}, headers={"Idempotency-Key": "k"})

    response = await api.post("/sessions", json={"title": "two"}, headers={"Idempotency-Key": "k"})

    assert (response.status_code, response.json()["code"]) == (409, "id_reused")
    assert [s["title"] for s in (await api.get("/sessions")).json()["items"]] == ["one"]


async def test_a_creation_with_a_key_does_not_take_over_a_session_of_that_id(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "a", "title": "mine"})

    response = await api.post("/sessions", json={"id": "a"}, headers={"Idempotency-Key": "k"})

    assert (response.status_code, response.json()["code"]) == (409, "session_exists")


async def test_keys_of_the_server_itself_cannot_be_used(api: httpx.AsyncClient) -> None:
    response = await api.post("/sessions", headers={"Idempotency-Key": "run/x/answer"})

    assert response.status_code == 422


@pytest.mark.parametrize("session_id", ["new", ".", "..", "a/b", "a b", "ä", "", "a\n", "x" * 129])
async def test_ids_that_no_path_can_hold_are_refused(api: httpx.AsyncClient, session_id: str) -> None:
    response = await api.post("/sessions", json={"id": session_id})

    assert response.status_code in (413, 422)
    assert response.json()["field"] == "id"


async def test_a_new_id_is_unused(api: httpx.AsyncClient) -> None:
    response = await api.get("/sessions/new")

    session_id = response.json()["id"]
    assert (await api.get(f"/sessions/{session_id}")).status_code == 404
    assert (await api.put(f"/sessions/{session_id}")).status_code == 201


@pytest.mark.parametrize("permanent", ["false", "true"])
@pytest.mark.parametrize("path", ["", "/messages", "/messages/1", "/segments", "/context", "/agents", "/export"])
async def test_nothing_is_read_of_a_deleted_session(api: httpx.AsyncClient, path: str, permanent: str) -> None:
    await api.put("/sessions/a")
    said = {"messages": [{"role": "user", "parts": [{"type": "text", "text": "gone?"}]}]}
    assert (await api.post("/sessions/a/messages", json=said)).status_code == 201
    assert (await api.get(f"/sessions/a{path}")).status_code == 200

    assert (await api.delete("/sessions/a", params={"permanent": permanent})).status_code == 200

    assert (await api.get(f"/sessions/a{path}")).status_code == 404


async def test_ensure_creates_once_and_changes_nothing_then(api: httpx.AsyncClient) -> None:
    first = await api.put("/sessions/a", json={"title": "T"})
    second = await api.put("/sessions/a", json={"title": "other"})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["title"] == "T"


async def test_the_etag_is_revision_and_last_seq(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "a"})
    await api.post("/sessions/a/messages", json={"question": "q", "answer": "a"})
    await api.patch("/sessions/a", json={"title": "T"})

    response = await api.get("/sessions/a")

    assert response.headers["etag"] == '"2.2"'


@pytest.mark.parametrize("tag", ['"1.0"', 'W/"1.0"', '"1.7"', "*", '"9.9", "1.0"'])
async def test_a_change_is_made_while_the_revision_is_the_expected_one(api: httpx.AsyncClient, tag: str) -> None:
    await api.post("/sessions", json={"id": "a"})

    response = await api.patch("/sessions/a", json={"title": "T"}, headers={"If-Match": tag})

    assert response.status_code == 200
    assert response.json()["title"] == "T"


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_change_from_an_old_revision_is_refused(api: httpx.AsyncClient, method: str) -> None:
    await api.post("/sessions", json={"id": "a"})
    await api.patch("/sessions/a", json={"title": "T"})
    body = {"title": "U"} if method == "PATCH" else None

    response = await api.request(method, "/sessions/a", json=body, headers={"If-Match": '"1.0"'})

    assert (response.status_code, response.json()["code"]) == (412, "revision_conflict")
    assert (await api.get("/sessions/a")).json()["title"] == "T"


async def test_a_malformed_if_match_is_told(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "a"})

    response = await api.patch("/sessions/a", json={"title": "T"}, headers={"If-Match": "1.0"})

    assert response.status_code == 422


async def test_pinned_sessions_come_first_and_archived_ones_are_hidden(api: httpx.AsyncClient) -> None:
    for session_id in ("a", "b", "c"):
        await api.post("/sessions", json={"id": session_id})
    await api.patch("/sessions/a", json={"state": "pinned"})
    await api.patch("/sessions/c", json={"state": "archived"})

    shown = [s["id"] for s in (await api.get("/sessions")).json()["items"]]
    everything = [s["id"] for s in (await api.get("/sessions?include_archived=true")).json()["items"]]
    archived = [s["id"] for s in (await api.get("/sessions?state=archived")).json()["items"]]

    assert shown == ["a", "b"]
    assert (set(everything), everything[0]) == ({"a", "b", "c"}, "a")
    assert archived == ["c"]


async def test_a_deleted_session_is_not_found_until_it_is_restored(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "a", "title": "T"})

    deleted = await api.delete("/sessions/a")
    missing = await api.get("/sessions/a")
    trashed = await api.get("/sessions?state=trashed")
    taken = await api.post("/sessions", json={"id": "a"})
    restored = await api.post("/sessions/a/restore")

    assert (deleted.status_code, deleted.json()["state"]) == (200, "trashed")
    assert missing.status_code == 404
    assert [s["id"] for s in trashed.json()["items"]] == ["a"]
    assert (taken.status_code, taken.json()["code"]) == (409, "closed")
    assert (restored.json()["state"], restored.json()["title"]) == ("active", "T")


async def test_a_permanent_deletion_leaves_a_receipt(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "a"})
    await api.post("/sessions/a/messages", json={"question": "q", "answer": "a"})

    response = await api.delete("/sessions/a?permanent=true")

    assert response.json()["removed"]["sessions"] == 1
    assert response.json()["removed"]["messages"] == 2
    assert (await api.post("/sessions/a/restore")).status_code == 404


async def test_lists_are_filtered_by_metadata_of_any_kind(api: httpx.AsyncClient) -> None:
    for session_id, value in (("text", "3"), ("number", 3), ("word", "blue")):
        await api.post("/sessions", json={"id": session_id, "metadata": {"k": value}})

    found = {
        query: [s["id"] for s in (await api.get("/sessions", params={"metadata.k": query})).json()["items"]]
        for query in ("3", '"3"', "blue", "red")
    }

    assert found == {"3": ["number"], '"3"': ["text"], "blue": ["word"], "red": []}


async def test_apps_do_not_see_each_other(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "a"})

    response = await api.get("http://localhost/v1/apps/other/sessions/a")

    assert response.status_code == 404


async def test_what_a_chat_left_behind_when_it_crashed_can_be_created(api: httpx.AsyncClient, store: Store) -> None:
    for session_id in ("a", "b", "c"):
        await store.create_session(LOCAL, session_id, NewSession(hidden=HIDDEN_UNTIL_MESSAGE))

    created = await api.post("/sessions", json={"id": "a", "title": "A"})
    ensured = await api.put("/sessions/b", json={"title": "B"})
    keyed = await api.post("/sessions", json={"id": "c", "title": "C"}, headers={"Idempotency-Key": "k"})

    assert [answer.status_code for answer in (created, ensured, keyed)] == [201, 201, 201]
    assert {s["title"] for s in (await api.get("/sessions")).json()["items"]} == {"A", "B", "C"}


async def test_a_creation_that_was_interrupted_is_completed_by_its_repeat(api: httpx.AsyncClient, store: Store) -> None:
    await store.create_session(
        LOCAL, derived_id("create", "default", "default", "local", "k"), NewSession(hidden=HIDDEN_UNTIL_REVEAL)
    )

    response = await api.post("/sessions", json={"title": "T"}, headers={"Idempotency-Key": "k"})

    assert response.status_code == 201
    assert [s["title"] for s in (await api.get("/sessions")).json()["items"]] == ["T"]
