"""What an error of the driver means to a caller."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from chatkeep.domain.errors import ChatkeepError, CorruptRecord, NotSupported, StoreError, Unavailable

CLOSED = "the SQLite store is closed; open a new one"

_DAMAGED = "the database file is damaged ({}); stop writing to it and restore a backup"

_MEANINGS: tuple[tuple[type[apsw.Error], Callable[[str], ChatkeepError], str], ...] = (
    (apsw.BusyError, Unavailable, "another program keeps the database locked ({}); end its transaction"),
    (apsw.LockedError, Unavailable, "another program keeps the database locked ({}); end its transaction"),
    (apsw.FullError, Unavailable, "the disk is full ({}); nothing of the call was stored: free space and repeat it"),
    (apsw.ReadOnlyError, Unavailable, "the database cannot be written ({}); check the rights of the file and folder"),
    (apsw.CantOpenError, Unavailable, "the database file cannot be opened ({}); check its path and rights"),
    (apsw.PermissionsError, Unavailable, "the database file cannot be opened ({}); check its path and rights"),
    (apsw.IOError, Unavailable, "the disk failed ({}); look at the system's log"),
    (apsw.NoMemError, Unavailable, "SQLite is out of memory ({})"),
    (apsw.InterruptError, Unavailable, "the statement was interrupted ({}); repeat the call"),
    (apsw.ConnectionClosedError, Unavailable, CLOSED),
    (apsw.NotADBError, NotSupported, "the file is not an SQLite database ({}); choose another path"),
    (apsw.CorruptError, CorruptRecord, _DAMAGED),
    (apsw.FormatError, CorruptRecord, _DAMAGED),
)
"""Driver error → ours; the first match counts. What is not here is a defect of this store: StoreError."""


def translated(error: Exception) -> Exception:
    """Return the error to raise for `error`, chained to it; one that is not the driver's is returned as it is."""
    if not isinstance(error, apsw.Error):
        return error
    said = str(error).removeprefix(f"{type(error).__name__}: ")
    for kind, make, text in _MEANINGS:
        if isinstance(error, kind):
            meaning = make(text.format(said))
            break
    else:
        meaning = StoreError(f"SQLite refused a statement of Chatkeep ({said}); please report this")
    meaning.__cause__ = error
    return meaning
