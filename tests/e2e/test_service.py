from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
from tests.e2e.conftest import WORDS_PER_SECOND, Service, ServiceMaker, StreamEvent, environment, events_of

LONG = " ".join(f"word{n}" for n in range(2_000))
INTERRUPTED_WITHIN_SECONDS = 20
PERSIST_SECONDS = 0.25


def ask(service: Service, session: str, message: str, *, words: int) -> tuple[str, list[StreamEvent]]:
    """Ask, read the answer until `words` words of it have come, and leave the stream; return run id and events."""
    seen: list[StreamEvent] = []
    url = f"{service.app}/sessions/{session}/chat"
    with httpx.stream("POST", url, json={"message": message}, timeout=20) as response:
        assert response.status_code == httpx.codes.OK
        for event in events_of(response):
            seen.append(event)
            if len(text_of(seen).split()) >= words:
                break
    return seen[0].data["run_id"], seen


def text_of(events: list[StreamEvent]) -> str:
    """Put the text together, dropping by offset what is there already."""
    text = ""
    for event in events:
        if event.type == "delta":
            assert event.data["offset"] <= len(text), "a gap in the text"
            text += event.data["text"][len(text) - event.data["offset"] :]
    return text


def messages(service: Service, session: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = httpx.get(f"{service.app}/sessions/{session}/messages").json()["items"]
    return items


def answer_text(message: dict[str, object]) -> str:
    parts = message["parts"]
    assert isinstance(parts, list)
    return "".join(part["text"] for part in parts)


def wait_until_over(service: Service, run_id: str) -> dict[str, object]:
    until = time.monotonic() + INTERRUPTED_WITHIN_SECONDS
    while time.monotonic() < until:
        run: dict[str, object] = httpx.get(f"{service.app}/runs/{run_id}").json()
        if run["status"] not in ("queued", "running"):
            return run
        time.sleep(0.1)
    raise AssertionError(f"run {run_id} is not over after {INTERRUPTED_WITHIN_SECONDS} s")


def test_a_service_killed_in_mid_answer_keeps_the_question_and_what_was_said(serve: ServiceMaker) -> None:
    service = serve()
    run_id, seen = ask(service, "s", LONG, words=60)
    heard = text_of(seen)

    service.kill()
    service.start()
    run = wait_until_over(service, run_id)

    assert run["status"] == "interrupted"
    question, answer = messages(service, "s")
    assert answer_text(question) == LONG
    assert answer["status"] == "interrupted"
    kept = answer_text(answer)
    assert heard.startswith(kept) or kept.startswith(heard)
    lost = len(heard.split()) - len(kept.split())
    assert lost <= 2 * PERSIST_SECONDS * WORDS_PER_SECOND


def test_a_client_resumes_with_the_last_id_after_a_kill_and_gets_the_rest(serve: ServiceMaker) -> None:
    service = serve()
    run_id, seen = ask(service, "s", LONG, words=60)
    last = max(event.id for event in seen if event.id is not None)
    stored = [event for event in seen if event.id is not None and event.type == "delta"]

    service.kill()
    service.start()
    wait_until_over(service, run_id)
    with httpx.stream(
        "GET", f"{service.app}/runs/{run_id}/events", headers={"Last-Event-ID": str(last)}, timeout=20
    ) as response:
        rest = list(events_of(response))

    assert all(event.id is not None and event.id > last for event in rest)
    assert rest[-1].type == "done"
    assert rest[-1].data["status"] == "interrupted"
    kept = answer_text(messages(service, "s")[1])
    whole = text_of(seen)
    for event in rest:
        if event.type == "delta":
            offset = event.data["offset"]
            assert offset <= len(whole)
            whole = whole[:offset] + event.data["text"] + whole[offset + len(event.data["text"]) :]
    assert whole.startswith(kept)
    assert stored or len(kept) <= len(whole)


def test_an_answer_goes_on_when_its_reader_leaves(serve: ServiceMaker) -> None:
    service = serve()

    run_id, _ = ask(service, "s", " ".join(["go"] * 60), words=5)
    run = wait_until_over(service, run_id)

    assert run["status"] == "complete"
    assert messages(service, "s")[1]["status"] == "complete"


def test_a_second_message_is_refused_waits_or_interrupts_as_asked(serve: ServiceMaker) -> None:
    service = serve()
    url = f"{service.app}/sessions/s/chat"
    run_id, _ = ask(service, "s", LONG, words=5)

    refused = httpx.post(url, json={"message": "and?"})
    queued: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: queued.append(
            httpx.post(url, json={"message": "later", "when_busy": "queue", "stream": False}, timeout=60)
        )
    )
    waiting.start()
    time.sleep(0.5)
    urgent = httpx.post(url, json={"message": "now", "when_busy": "interrupt", "stream": False}, timeout=60)
    waiting.join()

    assert refused.status_code == httpx.codes.CONFLICT
    assert refused.json()["run_id"] == run_id
    assert [answer.status_code for answer in (*queued, urgent)] == [httpx.codes.OK, httpx.codes.OK]
    texts = [answer_text(message) for message in messages(service, "s") if message["role"] == "user"]
    assert texts == [LONG, "later", "now"]
    assert [message["status"] for message in messages(service, "s")] == [
        "complete",
        "cancelled",
        "complete",
        "complete",
        "complete",
        "complete",
    ]


def test_a_service_that_is_asked_to_stop_keeps_what_was_said(serve: ServiceMaker) -> None:
    service = serve()
    ask(service, "s", LONG, words=10)

    service.stop()
    service.start()

    assert messages(service, "s")[1]["status"] == "interrupted"


def test_the_command_line_works_beside_a_busy_service(serve: ServiceMaker, tmp_path: Path) -> None:
    service = serve(CHATKEEP_ECHO_WORDS_PER_SECOND="0")
    stop = threading.Event()
    answered: list[int] = []

    def chat() -> None:
        with httpx.Client(timeout=30) as client:
            while not stop.is_set():
                body = {"message": "hello", "stream": False}
                answered.append(client.post(f"{service.app}/sessions/busy/chat", json=body).status_code)

    chatting = threading.Thread(target=chat)
    chatting.start()
    outcomes = [
        run_command(tmp_path, "messages", "add", "notes", "--role", "user", "--text", f"note {at}")
        if at
        else run_command(tmp_path, "sessions", "new", "notes")
        for at in range(6)
    ]
    stop.set()
    chatting.join()

    assert [(outcome.returncode, outcome.stderr) for outcome in outcomes] == [(0, "")] * 6
    assert set(answered) == {httpx.codes.OK}
    assert len(messages(service, "notes")) == 5
    listed = run_command(tmp_path, "sessions", "list", "--json").stdout.splitlines()
    assert {json.loads(line)["id"] for line in listed} == {"busy", "notes"}


def run_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chatkeep", *arguments],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
