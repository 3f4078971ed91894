"""Reading lines from whoever types, while the event loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from signal import SIGHUP, SIGINT, SIGTERM

_READ_BYTES = 65_536


class Lines:
    """Lines of stdin, each read by a thread of its own, so that nothing else waits for it.

    At a terminal they can be edited, and earlier ones come back with the arrow keys; nothing of that is stored.
    """

    def __init__(self) -> None:
        self.at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._buffer = b""
        self._waiting: asyncio.Future[str | None] | None = None

    async def read(self, prompt: str) -> str | None:
        """Return the next line, which may hold several when it was pasted; None at the end, or after `leave`."""
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        read = self._ask if self.at_terminal else self._take
        # Not a thread of the loop's pool: the process must be able to end while somebody thinks about what to type.
        threading.Thread(target=_hand_over, args=(loop, self._waiting, lambda: read(prompt)), daemon=True).start()
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def leave(self) -> bool:
        """Let `read` return None; return whether it was waiting."""
        if self._waiting is None or self._waiting.done():
            return False
        self._waiting.set_result(None)
        return True

    def _ask(self, prompt: str) -> str | None:
        try:
            return input(prompt)
        except EOFError:
            return None

    def _take(self, _prompt: str) -> str | None:
        """Read without Python's buffers, whose lock a thread that is left behind would keep."""
        while b"\n" not in self._buffer:
            more = os.read(sys.stdin.fileno(), _READ_BYTES)
            if not more:
                break
            self._buffer += more
        if not self._buffer:
            return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace").removesuffix("\r")


def _hand_over(
    loop: asyncio.AbstractEventLoop, waiting: asyncio.Future[str | None], read: Callable[[], str | None]
) -> None:
    line: str | None = None
    error: OSError | None = None
    try:
        line = read()
    except OSError as raised:
        error = raised

    def tell() -> None:
        if waiting.done():
            return
        if error is None:
            waiting.set_result(line)
        else:
            waiting.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop is closed when the line comes too late
        loop.call_soon_threadsafe(tell)


@asynccontextmanager
async def attended(on_interrupt: Callable[[], None]) -> AsyncIterator[None]:
    """Hand Ctrl-C to `on_interrupt` inside the block; a hang-up or SIGTERM cancels the block's task.

    Afterwards the terminal is as it was.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 -- a coroutine runs in one
    loop.add_signal_handler(SIGINT, on_interrupt)
    for signal in (SIGTERM, SIGHUP):
        loop.add_signal_handler(signal, task.cancel)
    try:
        with _terminal_kept():
            yield
    finally:
        for signal in (SIGINT, SIGTERM, SIGHUP):
            loop.remove_signal_handler(signal)


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    if not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415 -- for terminals only

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401, PLC0415 -- `input` uses it once it is there; not every Python has it
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
