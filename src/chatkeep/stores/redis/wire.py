"""A connection that many calls share: of what they ask in one turn of the event loop the first is sent at once, and
the others together.

The driver's own pools take longer for a command than the server does, and give each caller a connection of its own, so
that a hundred callers cost a hundred writes and a hundred wake-ups. Its parser is used here, its clients are not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, cast

import hiredis
from redis.exceptions import ConnectionError as LostError, MaxConnectionsError, TimeoutError as SlowError

Value = bytes | str | int

_MULTI = hiredis.pack_command(("MULTI",))
_EXEC = hiredis.pack_command(("EXEC",))

MOST_WAITING = 10_000
_CHECKS_PER_TIMEOUT = 4


class Wire(asyncio.Protocol):
    """One connection. `answer_seconds`: when the oldest question has waited so long, the connection is given up."""

    def __init__(self, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], float, int]] = deque()
        self._passed = 0
        self._unsent: list[bytes] = []
        self._has_sent = False
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.is_open = False

    @property
    def waiting(self) -> int:
        """How many questions are not answered yet."""
        return len(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        self._look()

    def ask(self, command: Sequence[Value]) -> asyncio.Future[Any]:
        """Send a command; the future gives its answer, an error of the server as a value. Raises LostError."""
        return self._asked(_packed(command))

    def ask_at_once(self, commands: Sequence[Sequence[Value]]) -> asyncio.Future[Any]:
        """Send commands as one transaction; the future gives their answers, or an error of the server as a value.

        Raises LostError.
        """
        return self._asked(b"".join((_MULTI, *map(_packed, commands), _EXEC)), before=len(commands) + 1)

    def _asked(self, packed: bytes, *, before: int = 0) -> asyncio.Future[Any]:
        """Send what is packed; the future gives the answer that comes behind `before` others, which say nothing."""
        if not self.is_open:
            raise LostError("the connection is closed")
        if len(self._waiting) >= MOST_WAITING:
            raise MaxConnectionsError("too many calls are waiting")
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._has_sent:
            self._unsent.append(packed)
        else:
            self._has_sent = True
            self._write(packed)
            self._loop.call_soon(self._send)
        self._waiting.append((answer, monotonic(), before))
        return answer

    def _send(self) -> None:
        """Send what was asked in this turn of the loop behind the first question."""
        self._has_sent = False
        unsent, self._unsent = self._unsent, []
        if unsent:
            self._write(b"".join(unsent))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and self.is_open:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while True:
            try:
                value = self._reader.gets()
            except hiredis.ProtocolError:
                self._fail(LostError("what the server said cannot be read"))
                return
            if value is False:
                return
            answer, _, before = self._waiting[0]
            if self._passed < before:
                self._passed += 1
                continue
            self._passed = 0
            self._waiting.popleft()
            if not answer.done():
                answer.set_result(value)

    def connection_lost(self, _: Exception | None) -> None:
        self._fail(LostError("the connection was lost"))

    def _look(self) -> None:
        """Give the connection up when the server does not answer."""
        if self._waiting and monotonic() - self._waiting[0][1] >= self._answer_seconds:
            self._fail(SlowError("the server did not answer in time"))
        elif self.is_open:
            self._watch = self._loop.call_later(self._answer_seconds / _CHECKS_PER_TIMEOUT, self._look)

    def _fail(self, error: Exception) -> None:
        self.is_open = False
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for answer, *_ in waiting:
            if not answer.done():
                answer.set_exception(error)

    async def close(self) -> None:
        """Close the connection; calls that wait fail."""
        self._fail(LostError("the connection is closed"))
        await asyncio.sleep(0)


def _packed(command: Sequence[Value]) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # integers are taken too
    return packed
