"""The service as a stranger runs it: its own process, a SQLite file, HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

SRC = Path(__file__).parents[2] / "src"
WORDS_PER_SECOND = 50


@dataclass
class StreamEvent:
    """One block of a stream of server-sent events."""

    id: int | None = None
    type: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def events_of(response: httpx.Response) -> Iterator[StreamEvent]:
    """Yield the events of a stream as they come, those with an id alone too."""
    event = StreamEvent()
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            event.id = int(value)
        elif name == "event":
            event.type = value
        elif name == "data":
            event.data = json.loads(value)
        elif not line and event != StreamEvent():
            yield event
            event = StreamEvent()


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Return the variables of a service whose data lies in `folder`, and nothing of the caller's settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHATKEEP_")}
    return {
        **inherited,
        "PYTHONPATH": str(SRC),
        "CHATKEEP_STORE_URL": f"sqlite:///{folder}/chatkeep.db",
        "CHATKEEP_MODEL": "echo",
        "CHATKEEP_CONTEXT_RELEVANCE": "bm25",
        "CHATKEEP_ECHO_WORDS_PER_SECOND": str(WORDS_PER_SECOND),
        **settings,
    }


@dataclass
class Service:
    """A running service; `kill` ends it as a power cut would end it, `start` begins anew on the same file and port."""

    folder: Path
    port: int
    settings: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def app(self) -> str:
        return f"{self.url}/v1/apps/default"

    def start(self) -> None:
        log = (self.folder / "service.log").open("ab")
        command = [sys.executable, "-m", "chatkeep", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, env=environment(self.folder, **self.settings), stdout=log, stderr=log, cwd=self.folder
        )
        log.close()
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, (self.folder / "service.log").read_text()
            time.sleep(0.05)
        pytest.fail("the service did not become ready")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=20)


ServiceMaker = Callable[..., Service]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[ServiceMaker]:
    """Start services whose data lies in one folder."""
    started: list[Service] = []

    def start(**settings: str) -> Service:
        service = Service(tmp_path, free_port(), settings)
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        service.stop()
