"""What the tests need that is not part of Chatkeep: servers and files in `.tools`."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(__file__).parents[1] / ".tools"
_START_SECONDS = 30.0


def missing(what: str) -> NoReturn:
    """Skip a test for the lack of something that `make servers` fetches, or fail where everything is required."""
    reason = f"{what} is not installed; `make servers` fetches it"
    if os.environ.get("CHATKEEP_REQUIRE_ENGINES") == "all":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server that was just started listens."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    server.kill()
    raise RuntimeError(f"{server.args!r} did not open port {port}: exit code {server.wait()}")
