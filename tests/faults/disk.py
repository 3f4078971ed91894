"""A disk that remembers each write and sync, so that a power cut can be played at any moment; it can also fail."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import apsw

SECTOR_BYTES = 512


class Write(NamedTuple):
    """Bytes that were handed to the file system; they are safe after the next sync of the same file."""

    path: str
    data: bytes
    offset: int


class Truncate(NamedTuple):
    """A file was cut to `size` bytes."""

    path: str
    size: int


class Sync(NamedTuple):
    """What was written to the file is safe."""

    path: str


class Delete(NamedTuple):
    """The file is gone."""

    path: str


class Acknowledged(NamedTuple):
    """The store told a caller that this is kept."""

    what: str


Event = Write | Truncate | Sync | Delete | Acknowledged


@dataclass
class Disk:
    """All that happened, in order; `fault` may raise the driver's error instead of a write."""

    events: list[Event] = field(default_factory=list)
    fault: Callable[[str], None] | None = None

    def acknowledge(self, what: str) -> None:
        """Note that the store has promised to keep it."""
        self.events.append(Acknowledged(what))

    def fail(self, path: str) -> None:
        """Raise what the disk of now raises for a write."""
        if self.fault is not None:
            self.fault(path)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 -- SQLite's name
        if self._path:
            self._disk.fail(self._path)
            self._disk.events.append(Write(Path(self._path).name, bytes(data), offset))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 -- SQLite's name
        if self._path:
            self._disk.events.append(Truncate(Path(self._path).name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 -- SQLite's name
        super().xSync(flags)
        if self._path:
            self._disk.events.append(Sync(Path(self._path).name))


class _Recorder(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        self._disk = disk
        super().__init__(name, "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 -- SQLite's name
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001 -- SQLite's name and signature
        super().xDelete(filename, syncdir)
        self._disk.events.append(Delete(Path(filename).name))


@contextmanager
def recording() -> Iterator[Disk]:
    """Let every file that SQLite opens meanwhile lie on a disk that remembers."""
    disk = Disk()
    recorder = _Recorder(f"recorder-{token_hex(4)}", disk)
    try:
        yield disk
    finally:
        recorder.unregister()


def after_power_cut(events: Sequence[Event], chance: random.Random) -> tuple[dict[str, bytes], list[str]]:
    """Return what the files may hold when the power fails after `events`, and what had been acknowledged by then.

    All that came before the last sync of a file is there. Of what came later each write is there, or not, or in part
    (by whole sectors), as a disk and its cache may do it in any order.
    """
    synced = {event.path: at for at, event in enumerate(events) if isinstance(event, Sync)}
    files: dict[str, bytearray] = defaultdict(bytearray)
    acknowledged: list[str] = []
    for at, event in enumerate(events):
        if isinstance(event, Acknowledged):
            acknowledged.append(event.what)
        elif isinstance(event, Delete):
            files.pop(event.path, None)
        elif isinstance(event, (Write, Truncate)):
            _apply(files[event.path], event, None if at < synced.get(event.path, -1) else chance)
    return {path: bytes(content) for path, content in files.items()}, acknowledged


def _apply(content: bytearray, event: Write | Truncate, chance: random.Random | None) -> None:
    fate = 1.0 if chance is None else chance.choice((0.0, 0.5, 1.0))
    if fate == 0:
        return
    if isinstance(event, Truncate):
        del content[event.size :]
        return
    length = len(event.data)
    if fate < 1 and chance is not None:
        length = min(length, chance.randrange(0, length + SECTOR_BYTES, SECTOR_BYTES))
    if length:
        content.extend(bytes(max(0, event.offset - len(content))))
        content[event.offset : event.offset + length] = event.data[:length]
