"""`chatkeep serve`."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
Json = Callable[..., list[Any]]


COMMAND = (sys.executable, "-m", "chatkeep")


@pytest.fixture
def serve() -> Iterator[Call]:
    """Start the service on a free port and return what it says of itself, and its process."""
    begun: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[Any, subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        begun.append(process)
        return json.loads(process.stdout.readline()), process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def test_the_service_says_where_it_is_and_what_it_serves(serve: Call, place: Path) -> None:
    told, _process = serve()

    assert told["store"] == f"sqlite:///{place}/chats.db"
    assert (told["model"], told["notice"]) == ("echo", None)
    assert told["engine"].startswith("SQLite ")
    with urllib.request.urlopen(told["url"] + "/health", timeout=30) as answer:  # noqa: S310 -- our own server
        assert answer.status == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_service_in_order(serve: Call, number: signal.Signals) -> None:
    _told, process = serve()

    process.send_signal(number)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 0
    assert b"Traceback" not in errors


def test_the_command_line_works_beside_the_service(serve: Call, json_of: Json) -> None:
    told, _process = serve()
    asked = urllib.request.Request(  # noqa: S310 -- our own server
        told["url"] + "/v1/apps/default/sessions/a/chat",
        data=json.dumps({"message": "over HTTP", "stream": False}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 -- the same
        assert answer.status == 200

    json_of("chat", "-m", "at the command line")

    assert [message["status"] for message in json_of("messages", "list", "a")] == ["complete"] * 4


def test_other_machines_are_not_served_without_authentication(call: Call) -> None:
    refused = call("serve", "--host", "0.0.0.0", code=1)  # noqa: S104 -- the refusal is the point

    assert refused.stderr.startswith("chatkeep: without authentication Chatkeep listens on this machine only")
    assert refused.stderr.count("\n") == 1


def test_a_port_in_use_is_one_sentence(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = call("serve", "--port", str(taken.getsockname()[1]), code=1)

    assert "Address already in use; set CHATKEEP_PORT to a free one" in refused.stderr
    assert refused.stderr.count("\n") == 1
