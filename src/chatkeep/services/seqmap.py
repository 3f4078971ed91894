"""Where the messages of an export stand in the session that they are imported into."""

from __future__ import annotations

from bisect import bisect_right


class SeqMap:
    """Maps ascending seqs to ascending seqs; small as long as both mostly advance by one."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._runs: list[tuple[int, int]] = []
        self._aliases: dict[int, int] = {}

    def add(self, there: int, here: int) -> None:
        """Note that the message `there`, above all others so far, is the message `here`."""
        if self._runs:
            end, offset = self._runs[-1]
            if there == end + 1 and here - there == offset:
                self._runs[-1] = (there, offset)
                return
        self._starts.append(there)
        self._runs.append((there, here - there))

    def alias(self, there: int, here: int) -> None:
        """Note that the message `there` was left out, and what would follow it follows `here`."""
        self._aliases[there] = here

    def get(self, there: int) -> int | None:
        """Return the seq here; 0 for 0, and None for what was not noted."""
        if there == 0:
            return 0
        at = bisect_right(self._starts, there) - 1
        if at >= 0 and there <= self._runs[at][0]:
            return there + self._runs[at][1]
        return self._aliases.get(there)
