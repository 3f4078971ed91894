"""What `Chatkeep.open` has opened, and for whom."""

from __future__ import annotations

import os

from chatkeep.bootstrap import Keeping
from chatkeep.domain.errors import NotSupported

FORKED = "this Chatkeep was opened by the process that this one was forked from; open another here, after the fork"


class Opened:
    """The services of an open store, for the process that opened it.

    A forked child inherits neither the threads nor, in a way that two could use, the connections: both processes would
    write to the same sockets and take each other's answers.
    """

    def __init__(self, kept: Keeping) -> None:
        self._kept = kept
        self._pid = os.getpid()

    @property
    def kept(self) -> Keeping:
        """The services. Raises NotSupported in a process that was forked."""
        if os.getpid() != self._pid:
            raise NotSupported(FORKED)
        return self._kept
