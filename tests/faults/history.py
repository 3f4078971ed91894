"""What clients of a shared list did and saw, and whether one order explains it.

Each client notes when each of its calls began and ended. Afterwards the notes are compared with each other and with
what is stored, in the manner of the list-append tests of Jepsen's Elle.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

SESSIONS = 50


class Appended(NamedTuple):
    """A value was acknowledged at `seq`."""

    begun: float
    ended: float
    session: str
    seq: int
    value: str


class Seen(NamedTuple):
    """The newest entries of a session, as a read gave them: (seq, value), ascending."""

    begun: float
    ended: float
    session: str
    entries: tuple[tuple[int, str], ...]


Note = Appended | Seen
Final = Mapping[str, Sequence[tuple[int, str]]]


class Listing(Protocol):
    """What the clients write to and read from."""

    async def append(self, session: str, value: str) -> int:
        """Return the seq of the value."""

    async def newest(self, session: str) -> tuple[tuple[int, str], ...]:
        """Return the last entries."""


async def client(name: str, listing: Listing, until: float) -> list[Note]:
    """Append and read by turns, here and there; return what happened."""
    chance = random.Random(name)  # noqa: S311 -- spreads the calls
    notes: list[Note] = []
    for number in itertools.count():
        begun = time.monotonic()
        if begun >= until:
            return notes
        session = f"s{chance.randrange(SESSIONS)}"
        if chance.random() < 0.5:
            value = f"{name}.{number}"
            seq = await listing.append(session, value)
            notes.append(Appended(begun, time.monotonic(), session, seq, value))
        else:
            entries = await listing.newest(session)
            notes.append(Seen(begun, time.monotonic(), session, entries))
    raise AssertionError


def anomalies(notes: Iterable[Note], final: Final) -> list[str]:
    """Return what no single order of all calls explains; `final` is what is stored in the end."""
    by_session: dict[str, list[Note]] = defaultdict(list)
    for note in notes:
        by_session[note.session].append(note)
    found: list[str] = []
    for session, own in by_session.items():
        stored = final[session]
        if [seq for seq, _ in stored] != list(range(1, len(stored) + 1)):
            found.append(f"{session}: a gap in the end")
        if len({value for _, value in stored}) != len(stored):
            found.append(f"{session}: a doubled value")
        found += _contradictions(session, own, dict(stored))
    return found


def _contradictions(session: str, notes: list[Note], stored: dict[int, str]) -> list[str]:
    """Return where a note differs from what is stored, or from an earlier note."""
    found: list[str] = []
    ends: list[tuple[float, int]] = []
    for note in notes:
        entries = ((note.seq, note.value),) if isinstance(note, Appended) else note.entries
        found += [f"{session}: {value} is not at {seq}" for seq, value in entries if stored.get(seq) != value]
        if any(later != earlier + 1 for (earlier, _), (later, _) in itertools.pairwise(entries)):
            found.append(f"{session}: a read with a gap")
        if entries:
            ends.append((note.ended, entries[-1][0]))
    ends.sort()
    known = 0
    position = 0
    for note in sorted(notes, key=lambda note: note.begun):
        while position < len(ends) and ends[position][0] < note.begun:
            known = max(known, ends[position][1])
            position += 1
        if isinstance(note, Seen) and (note.entries[-1][0] if note.entries else 0) < known:
            found.append(f"{session}: a read that ends before {known}, which was known already")
        if isinstance(note, Appended) and note.seq <= known:
            found.append(f"{session}: an append at {note.seq}, below {known}, which was known already")
    return found
