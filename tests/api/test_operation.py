from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.api.conftest import running_server

from chatkeep.api.app import create_app
from chatkeep.api.openapi import main
from chatkeep.api.serving import listen, served
from chatkeep.domain.errors import Invalid, Unavailable
from chatkeep.ports.store import Store
from chatkeep.settings import Settings

SOURCE = Path(__file__).parents[2] / "src"
DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


async def test_a_live_server_says_so(api: httpx.AsyncClient) -> None:
    response = await api.get("http://localhost/health")

    assert response.json() == {"status": "ok"}


async def test_sessions_health_tells_of_each_component(api: httpx.AsyncClient) -> None:
    await api.put("/sessions/a")

    report = (await api.get("http://localhost/health/sessions")).json()

    assert (report["status"], report["store_healthy"], report["redis_healthy"]) == ("ok", True, None)
    assert (report["active_sessions"], report["active_runs"], report["model"]) == (1, 0, "echo")


async def test_a_server_whose_store_is_away_is_alive_but_not_ready(
    api: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(type(store), "ping", lambda _self: away())

    live = await api.get("http://localhost/health")
    ready = await api.get("http://localhost/health/ready")
    report = (await api.get("http://localhost/health/sessions")).json()

    assert (live.status_code, ready.status_code) == (200, 503)
    assert (report["status"], report["store_healthy"], report["active_sessions"]) == ("unavailable", False, None)


async def test_a_store_that_is_away_is_told_with_when_to_come_again(
    api: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("gone", retry_after_seconds=2.5)

    monkeypatch.setattr(type(store), "find_session", away)
    monkeypatch.setattr("chatkeep.services.retrying.FIRST_WAIT_SECONDS", 0)

    response = await api.get("/sessions/a")

    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.headers["retry-after"] == "3"


async def test_metrics_have_the_promised_names_and_no_ids(api: httpx.AsyncClient) -> None:
    await api.post("/sessions", json={"id": "very-secret-id"})
    await api.post("/sessions/very-secret-id/chat", json={"message": "secret", "stream": False})
    await api.post("/sessions/another/chat", json={"message": "secret", "stream": False})
    await api.get("/sessions/very-secret-id/messages")
    await api.get("/nowhere/very-secret-id")

    text = (await api.get("http://localhost/metrics")).text

    for name in (
        "chat_requests_total", "chat_latency_seconds", "session_operations_total", "sessions_created_total",
        "history_retrieved_total", "messages_saved_total", "history_latency_seconds",
    ):  # fmt: skip
        assert name in text
    assert 'session_operations_total{operation="createSession",outcome="ok"} 1.0' in text
    assert "chat_latency_seconds_count" in text
    assert "sessions_created_total 2.0" in text
    assert "secret" not in text


async def test_the_log_holds_routes_and_no_content(api: httpx.AsyncClient, capfd: pytest.CaptureFixture[str]) -> None:
    await api.post("/sessions", json={"id": "sesame", "title": "sesame"})
    await api.get("/search?q=sesame", headers={"X-Sesame": "sesame"})
    await api.get("/sesame")

    written = "".join(capfd.readouterr())

    assert "/v1/apps/{app}/search" in written
    assert "sesame" not in written


async def test_the_api_page_has_assets_of_its_own(api: httpx.AsyncClient) -> None:
    page = await api.get("http://localhost/docs")
    script = await api.get("http://localhost/docs/assets/swagger-ui-bundle.js")
    start = await api.get("http://localhost/docs/assets/start.js")
    style = await api.get("http://localhost/docs/assets/swagger-ui.css")
    missing = await api.get("http://localhost/docs/assets/..%2f__init__.py")

    assert "http" not in page.text.replace("http-equiv", "")
    assert "<script>" not in page.text
    assert [answer.status_code for answer in (page, script, start, style, missing)] == [200, 200, 200, 200, 404]
    assert script.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("path", ["/", "/default", "/default/session/some", "/default/incognito"])
async def test_every_address_of_the_page_gives_the_page(
    api: httpx.AsyncClient, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatkeep.api.page.FOLDER", tmp_path)
    unbuilt = await api.get(f"http://localhost{path}")
    (tmp_path / "index.html").write_text('<base href="/" /><script src="./assets/a.js"></script>')

    built = await api.get(f"http://localhost{path}", headers={"Accept": "application/json"})

    assert "make page" in unbuilt.text
    assert built.text.startswith('<base href="/" />')
    for response in (unbuilt, built):
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "script-src 'self';" in response.headers["content-security-policy"]


async def test_parts_of_the_page_are_kept_for_good_and_nothing_else_is_given(
    api: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatkeep.api.page.FOLDER", tmp_path / "page")
    (tmp_path / "page/assets").mkdir(parents=True)
    (tmp_path / "page/assets/a-1.js").write_text("say()" * 1_000)
    (tmp_path / "secret.js").write_text("secret")

    part = await api.get("http://localhost/assets/a-1.js", headers={"Accept-Encoding": "gzip"})
    plain = await api.get("http://localhost/assets/a-1.js", headers={"Accept-Encoding": "identity"})

    assert part.text == plain.text == "say()" * 1_000
    assert (part.headers["content-encoding"], plain.headers.get("content-encoding")) == ("gzip", None)
    assert part.headers["cache-control"] == "public, max-age=31536000, immutable"
    for path in ("..%2f..%2fsecret.js", "nothing.js", "%2e%2e"):
        assert (await api.get(f"http://localhost/assets/{path}")).status_code == 404


async def test_everything_of_mine_is_erased_with_a_receipt(api: httpx.AsyncClient) -> None:
    await api.post("/sessions/a/chat", json={"message": "one", "stream": False})
    await api.put("http://localhost/v1/apps/other/sessions/b")

    receipt = (await api.delete("/me")).json()

    assert (receipt["removed"]["sessions"], receipt["removed"]["messages"]) == (1, 2)
    assert (await api.get("/sessions")).json()["items"] == []
    assert (await api.get("http://localhost/v1/apps/other/sessions/b")).status_code == 200


async def test_what_is_kept_is_told(api: httpx.AsyncClient) -> None:
    kept = (await api.get("/retention")).json()

    nothing = dict.fromkeys(("idle_seconds", "age_seconds", "messages", "sessions"))
    assert kept == {**nothing, "trash_seconds": 604_800.0}


async def test_unknown_paths_and_methods_are_problems(api: httpx.AsyncClient) -> None:
    path = await api.get("/nowhere")
    method = await api.put("/sessions")

    assert (path.status_code, path.json()["code"]) == (404, "not_found")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert method.headers["allow"] == "GET, POST"


async def test_a_fault_of_ours_is_a_problem_without_details(
    api: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    quoted = "a secret"

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(quoted)

    monkeypatch.setattr(type(store), "find_session", broken)

    response = await api.get("/sessions/a")

    written = "".join(capfd.readouterr())
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "secret" not in response.text + written
    assert "ZeroDivisionError" in written
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_committed_document_is_what_the_api_is() -> None:
    assert main(["--check", str(DOCUMENT)]) == 0


def test_a_document_that_differs_is_told(tmp_path: Path) -> None:
    other = tmp_path / "openapi.json"
    other.write_text("{}")

    assert main(["--check", str(other)]) == 1


def test_every_operation_is_described(settings: Settings) -> None:
    document = create_app(settings).openapi()
    operations = [operation for path in document["paths"].values() for operation in path.values()]

    assert all(operation["summary"] and operation["operationId"] and operation["tags"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        for status, response in operation["responses"].items():
            assert status < "400" or response["content"], operation["operationId"]
    assert "HTTPValidationError" not in json.dumps(document)


async def test_an_address_that_is_taken_is_told_in_one_sentence(settings: Settings) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(Invalid, match=f"cannot listen on 127.0.0.1 port {port}.*CHATKEEP_PORT"):
            await served(settings.model_copy(update={"port": port}))


def test_the_end_of_a_response_does_not_wait_for_an_acknowledgement_of_its_beginning() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_store_that_cannot_be_opened_is_told_in_one_sentence(settings: Settings) -> None:
    with pytest.raises(Invalid, match="no engine for the store URL scheme 'carrier'"):
        await served(settings.model_copy(update={"store_url": "carrier://pigeon", "port": 0}))


async def test_a_host_that_others_can_reach_is_refused(settings: Settings) -> None:
    with pytest.raises(Invalid, match="without authentication"):
        await served(settings.model_copy(update={"host": "0.0.0.0", "port": 0}))  # noqa: S104 -- refused


async def test_behind_a_proxy_places_are_told_with_its_path(settings: Settings) -> None:
    async with running_server(settings, root_path="/chat") as live:
        created = await live.client.post("/sessions", json={"id": "a"})
        whole = await live.client.get("/sessions/a")
        method = await live.client.put("/sessions")

    assert created.headers["location"] == "/chat/v1/apps/default/sessions/a"
    assert whole.headers["cache-control"] == "no-store"
    assert method.headers["allow"] == "GET, POST"


def test_a_terminated_server_ends_well(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from chatkeep.api.serving import serve\n"
        "from chatkeep.settings import Settings\n"
        "def ready(url, application):\n"
        "    print(url, flush=True)\n"
        "    import threading; threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "known = Settings(store_url='memory://', model='echo', context_relevance='bm25', port=0, log_format='json')\n"
        "serve(known, ready)\n"
        "print('closed', flush=True)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )

    assert done.returncode == 0, done.stderr
    url, closed = done.stdout.split()
    assert url.startswith("http://127.0.0.1:")
    assert closed == "closed"
    assert all(json.loads(line)["level"] for line in done.stderr.splitlines())
