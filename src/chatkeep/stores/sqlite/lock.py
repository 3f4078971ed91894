"""The turn to write, among the processes that share a file.

SQLite's own lock is taken by whoever asks at the right moment, so that a busy process can keep others out for long.
Here whoever wants to write first takes the only place in front of the door, then the door, and then frees the place:
the one in front is always next, whatever the last writer wants. Both are `flock`s, which end with their process.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from chatkeep.domain.errors import Unavailable
from chatkeep.stores.sqlite.forks import Held

DEADLINE_SECONDS = 30.0
PRIVATE = 0o600
"""The mode of a new file: nobody else on the machine reads what people have said."""
_FIRST_PAUSE = 0.000_05
_DOOR_PAUSE = 0.000_2
_PLACE_PAUSE = 0.002


class WriteTurn(Held):
    """A lock between processes, and between stores of one process; for one thread."""

    def __init__(self, database: Path, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._deadline_seconds = deadline_seconds
        self._door = self._open(database, "-lock")
        try:
            self._place = self._open(database, "-next")
        except OSError:
            os.close(self._door)
            raise
        super().__init__()

    @staticmethod
    def _open(database: Path, suffix: str) -> int:
        path = database.with_name(database.name + suffix)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)

    def acquire(self) -> None:
        """Wait for the turn. Raises Unavailable after the deadline."""
        until = time.monotonic() + self._deadline_seconds
        self._wait(self._place, until, _PLACE_PAUSE)
        try:
            self._wait(self._door, until, _DOOR_PAUSE)
        finally:
            fcntl.flock(self._place, fcntl.LOCK_UN)

    def _wait(self, lock: int, until: float, longest_pause: float) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Unavailable(
                        f"another process has been writing to the database for {self._deadline_seconds:g} s; "
                        "see whether one hangs"
                    ) from None
                time.sleep(pause)
                pause = min(2 * pause, longest_pause)
            else:
                return

    def release(self) -> None:
        """Let the next one write."""
        fcntl.flock(self._door, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the files back."""
        self.let_go()
        self.give_up()

    def give_up(self) -> None:
        # A turn ends when nobody has its file open: a child that kept it would go on holding the turn of its parent.
        os.close(self._door)
        os.close(self._place)
