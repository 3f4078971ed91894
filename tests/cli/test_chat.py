"""`chatkeep chat`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


COMMAND = (sys.executable, "-m", "chatkeep")
SLOW = "one two three four five six seven eight nine ten " * 20


@pytest.fixture
def begin() -> Iterator[Call]:
    """Begin a chat in a process of its own, whose answer has just begun."""
    begun: list[subprocess.Popen[bytes]] = []

    def work(*args: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*COMMAND, "chat", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        begun.append(process)
        shown = b""
        while b"You said: one" not in shown:
            shown += (more := os.read(process.stdout.fileno(), 65_536))
            assert more, shown
        return process

    yield work
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKEEP_ECHO_WORDS_PER_SECOND", "20")


def said(messages: list[Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["status"]) for message in messages]


def only_session(json_of: Json) -> str:
    (session,) = json_of("sessions", "list")
    return str(session["id"])


def test_one_message_is_answered_and_kept(call: Call, json_of: Json) -> None:
    answered = call("chat", "-m", "hello there")

    assert answered.stdout == "(echo, the built-in offline model) You said: hello there\n\n"
    assert said(json_of("messages", "list", only_session(json_of))) == [("user", "complete"), ("assistant", "complete")]


def test_the_next_message_goes_on_with_the_last_session_unless_a_new_one_is_asked_for(
    call: Call, json_of: Json
) -> None:
    call("chat", "-m", "one")
    call("chat", "-m", "two")
    call("chat", "--new", "-m", "three")
    call("chat", "--session", "mine", "-m", "four")

    counts = {session["title"]: session["message_count"] for session in json_of("sessions", "list")}

    assert counts == {"one": 4, "three": 2, "four": 2}


def test_the_last_session_is_the_one_of_the_latest_activity_pinned_or_not(call: Call, json_of: Json) -> None:
    for name in "ab":
        call("chat", "--session", name, "-m", name)
    call("sessions", "pin", "a")

    call("chat", "-m", "more")

    assert {session["id"]: session["message_count"] for session in json_of("sessions", "list")} == {"a": 2, "b": 4}


def test_json_is_the_events_of_the_answer(json_of: Json) -> None:
    events = json_of("chat", "-m", "hello")

    assert [events[0]["event"], events[-1]["event"]] == ["run", "done"]
    assert events[-1]["data"]["durable"] is True
    text = "".join(event["data"]["text"] for event in events if event["event"] == "delta")
    assert text.endswith("You said: hello")


def test_a_message_is_read_from_stdin(call: Call) -> None:
    assert "You said: from\nthe pipe" in call("chat", "-m", "-", stdin="from\nthe pipe\n").stdout


def test_an_unknown_model_or_agent_is_one_sentence(call: Call) -> None:
    assert "there is no model 'nonsense'" in call("chat", "-m", "x", "--model", "nonsense", code=1).stderr
    assert "no agent 'nobody' here" in call("chat", "-m", "x", "--agent", "nobody", code=1).stderr
    assert "give one of them" in call("chat", "--new", "--session", "a", code=1).stderr


def test_the_failure_of_a_model_is_told_with_the_fix(
    call: Call, json_of: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATKEEP_MODEL_BASE_URL", "http://127.0.0.1:9")

    failed = call("chat", "-m", "hello", "--model", "ollama:x", code=1)

    assert "the model failed: its server cannot be reached" in failed.stderr
    assert said(json_of("messages", "list", only_session(json_of))) == [("user", "complete"), ("assistant", "failed")]


def test_each_line_of_a_pipe_is_a_message_or_a_command(json_of: Json) -> None:
    typed = b"first\n\n//slash\n/nonsense\n/title My title\n/retry\n/sessions\n/new\nsecond\ngr\xfcezi\n/quit\nnever"

    told = subprocess.run([*COMMAND, "chat"], input=typed, capture_output=True, timeout=60, check=True)

    assert "You said: /slash" in told.stdout.decode()
    assert "there is no command /nonsense; /help lists them" in told.stderr.decode()
    counts = {session["title"]: session["message_count"] for session in json_of("sessions", "list")}
    assert counts == {"My title": 4, "second": 4}
    assert b"never" not in told.stdout


@pytest.mark.usefixtures("slow")
def test_an_answer_is_shown_while_it_is_written(terminal: Call) -> None:
    chat = terminal("chat")
    chat.wait_for("> ")

    chat.type(SLOW + "\n")
    chat.wait_for(r"You said: one two three")

    assert "ten " * 2 not in chat.shown.partition("You said:")[2]


@pytest.mark.usefixtures("slow")
def test_ctrl_c_during_an_answer_stops_it_keeps_the_text_and_the_chat_goes_on(terminal: Call, json_of: Json) -> None:
    chat = terminal("chat")
    chat.wait_for("> ")
    chat.type(SLOW + "\n")
    chat.wait_for(r"You said: one two")

    chat.type("\x03")
    chat.wait_for("stopped; what was said is kept")
    chat.wait_for("> ")
    chat.type("hi\n")
    chat.wait_for("You said: hi")
    chat.wait_for("> ")
    chat.type("\x04")

    assert chat.end() == 0
    messages = json_of("messages", "list", only_session(json_of))
    assert said(messages) == [
        ("user", "complete"),
        ("assistant", "cancelled"),
        ("user", "complete"),
        ("assistant", "complete"),
    ]
    assert "You said: one two" in messages[1]["parts"][0]["text"]


def test_a_chat_at_a_terminal_goes_on_where_it_was_left(terminal: Call, call: Call) -> None:
    call("chat", "-m", "remember me")

    chat = terminal("chat")

    chat.wait_for("remember me · [a-z0-9]+ · 2 messages")
    chat.wait_for("> remember me")
    chat.wait_for("You said: remember me")


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_ctrl_c_and_ctrl_d_at_the_prompt_leave_the_terminal_in_order(terminal: Call, key: str) -> None:
    chat = terminal("chat")
    chat.wait_for("> ")

    chat.type(key)

    assert chat.end() == 0
    assert "Traceback" not in chat.shown
    assert chat.echoes()


@pytest.mark.usefixtures("slow")
def test_ctrl_c_stops_a_single_message_with_130(terminal: Call, json_of: Json) -> None:
    chat = terminal("chat", "-m", SLOW)
    chat.wait_for("You said: one two")

    chat.type("\x03")

    assert chat.end() == 130
    assert said(json_of("messages", "list", only_session(json_of)))[1] == ("assistant", "cancelled")


@pytest.mark.usefixtures("slow")
def test_a_terminated_chat_keeps_what_was_said_as_interrupted(begin: Call, json_of: Json) -> None:
    chat = begin("-m", SLOW)

    chat.send_signal(signal.SIGTERM)
    _, errors = chat.communicate(timeout=30)

    assert (chat.returncode, errors) == (130, b"")
    assert said(json_of("messages", "list", only_session(json_of)))[1] == ("assistant", "interrupted")


def test_an_answer_under_way_elsewhere_is_followed_before_the_next_message(
    begin: Call, terminal: Call, monkeypatch: pytest.MonkeyPatch, json_of: Json
) -> None:
    monkeypatch.setenv("CHATKEEP_ECHO_WORDS_PER_SECOND", "10")
    elsewhere = begin("--session", "a", "-m", "one " * 80)

    chat = terminal("chat", "--session", "a")
    chat.wait_for("this session is answering; here is the answer")
    chat.wait_for(r"You said: (one ){79}one")
    chat.wait_for("> ")
    chat.type("two\n")
    chat.wait_for("You said: two")
    chat.wait_for("> ")  # the answer is stored

    elsewhere.communicate(timeout=30)
    assert elsewhere.returncode == 0
    assert [status for _, status in said(json_of("messages", "list", "a"))] == ["complete"] * 4


@pytest.mark.usefixtures("slow")
def test_the_answer_of_a_killed_process_is_picked_up(begin: Call, terminal: Call, json_of: Json) -> None:
    killed = begin("--session", "a", "-m", SLOW)
    time.sleep(0.5)  # what was said longer ago than that is stored
    killed.kill()

    chat = terminal("chat", "--session", "a")
    chat.wait_for("You said: one")
    chat.wait_for("the answer was interrupted")
    chat.wait_for("> ")
    chat.type("/retry\n")
    chat.wait_for("You said: one two three")

    assert said(json_of("messages", "list", "a", "--all-branches"))[:2] == [
        ("user", "complete"),
        ("assistant", "interrupted"),
    ]
