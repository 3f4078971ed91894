"""Where a database lies, and whether it still does.

What is written to a file that was removed or replaced meanwhile is gone when the last process closes it.
"""

from __future__ import annotations

import os

import apsw

from chatkeep.domain.errors import Unavailable


class Place:
    """The files of a database that is open."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._names = (connection.filename, connection.filename_wal)
        try:
            self._files = self._look()
        except OSError as error:
            raise Unavailable(f"{self._names[0]!r} was removed while it was being opened; open it again") from error

    def _look(self) -> list[tuple[int, int]]:
        return [(found.st_dev, found.st_ino) for found in map(os.stat, self._names)]

    def check(self) -> None:
        """Raise Unavailable unless the files are where they were when the database was opened."""
        try:
            found = self._look()
        except OSError:
            found = []
        if found != self._files:
            raise Unavailable(
                f"the database {self._names[0]!r} or its -wal was moved, replaced or removed while it was open; put "
                "it back, or end the processes that use it and open it anew"
            )
