"""What a process has open, and a child that it forks must not have.

SQLite keeps one account for the whole process of which files are open and locked. A forked child inherits the account
and none of the locks: a file that it opened anew it would take for locked already, and its parent, the last to close
it as far as anybody can see, would remove the log that the child still writes to. So nothing of SQLite is under way
while a process forks, and the child gives up what it inherited before it does anything else.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from weakref import WeakSet

opening = threading.Lock()
"""Held while files are being opened, which can take as long as another process writes."""
_registering = threading.Lock()


class Held(ABC):
    """Something open. `busy` is held while SQLite works on it."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        with _registering:
            _all.add(self)

    def let_go(self) -> None:
        """Count as closed: there is nothing left to give up."""
        with _registering:
            _all.discard(self)

    @abstractmethod
    def give_up(self) -> None:
        """Be without it, in a child; what the parent has stays as it is."""


_all: WeakSet[Held] = WeakSet()
_quiet: list[Held] = []


def _pause() -> None:
    opening.acquire()
    _registering.acquire()
    for held in list(_all):
        held.busy.acquire()
        _quiet.append(held)


def _go_on() -> None:
    while _quiet:
        _quiet.pop().busy.release()
    _registering.release()
    opening.release()


def _leave() -> None:
    try:
        for held in _quiet:
            held.give_up()
    finally:
        _all.clear()
        _go_on()


os.register_at_fork(before=_pause, after_in_parent=_go_on, after_in_child=_leave)
