"""The command line, called in this process, in one of its own, or at a terminal of its own; each test has its file."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from chatkeep.cli.program import app

SOURCE = Path(__file__).parents[2] / "src"
COMMAND = (sys.executable, "-m", "chatkeep")
PATIENCE_SECONDS = 30.0

Call = Callable[..., Result]
Json = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings, where the store is `chats.db` and the offline model answers at once."""
    for name in os.environ:
        if name.startswith("CHATKEEP_") or name in ("DATABASE_URL", "REDIS_URL", "NO_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHATKEEP_STORE_URL", f"sqlite:///{tmp_path}/chats.db")
    monkeypatch.setenv("CHATKEEP_MODEL", "echo")
    monkeypatch.setenv("CHATKEEP_ECHO_WORDS_PER_SECOND", "0")
    monkeypatch.setenv("CHATKEEP_CONTEXT_RELEVANCE", "bm25")
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def call() -> Call:
    """Call a command in this process; `code` is the exit code that it must have."""

    def work(*args: str, stdin: str | bytes | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(app, args, input=stdin, prog_name="chatkeep")
        assert result.exit_code == code, f"{args} ended with {result.exit_code}: {result.stderr}{result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert "Traceback" not in result.stderr
        return result

    return work


@pytest.fixture
def json_of(call: Call) -> Json:
    """Call a command with `--json` and return the documents that it writes."""

    def work(*args: str, stdin: str | bytes | None = None, code: int = 0) -> list[Any]:
        result = call(*args, "--json", stdin=stdin, code=code)
        return [json.loads(line) for line in result.stdout.splitlines()]

    return work


class Terminal:
    """A process at a terminal."""

    def __init__(self, *args: str) -> None:
        self._keys, far = pty.openpty()
        self.shown = ""
        self._read = 0
        self.process = subprocess.Popen(
            [*COMMAND, *args],
            stdin=far,
            stdout=far,
            stderr=far,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 -- no threads here yet
        )
        os.close(far)

    def wait_for(self, pattern: str) -> str:
        """Wait until what is shown behind the last find matches, and return the match."""
        until = time.monotonic() + PATIENCE_SECONDS
        while (found := re.compile(pattern).search(self.shown, self._read)) is None:
            assert time.monotonic() < until, f"{pattern!r} was not shown: {self.shown!r}"
            assert self._more(), f"it ended without {pattern!r}: {self.shown!r}"
        self._read = found.end()
        return found.group()

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._keys, text.encode())

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self._more() and time.monotonic() < until:
            pass
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def echoes(self) -> bool:
        """Return whether the terminal shows what is typed, as it does when it is given back in order."""
        return bool(termios.tcgetattr(self._keys)[3] & termios.ECHO)

    def kill(self) -> None:
        """End the process if it has not ended, and take the terminal away."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._keys)

    def _more(self) -> bool:
        if not select.select([self._keys], [], [], 0.2)[0]:
            return True
        try:
            read = os.read(self._keys, 65_536)
        except OSError:  # the far end is closed
            return False
        self.shown += read.decode(errors="replace")
        return bool(read)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Start the command at a terminal of its own."""
    opened: list[Terminal] = []

    def start(*args: str) -> Terminal:
        opened.append(Terminal(*args))
        return opened[-1]

    yield start
    for each in opened:
        each.kill()
