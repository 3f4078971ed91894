"""The records of sessions: found, and judged."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from chatkeep.domain.errors import Closed, NotFound
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, is_gone
from chatkeep.stores.sqlite.connection import Database, Row

SEQ_BITS = 32
MAX_STORED_SEQ = (1 << SEQ_BITS) - 1

_FIELDS = Session._fields
_STORED_COLUMNS = 5


class Stored(NamedTuple):
    """A session's record with what only this engine knows of it."""

    key: int
    scope: int
    indexed_seq: int
    title_indexed: int
    search_due: int
    session: Session


def message_key(session_key: int, seq: int) -> int:
    """Return the key of a message, and, with seq 0, that of the title in the search index."""
    return session_key << SEQ_BITS | seq


def session_of(row: Row) -> Session:
    """Return the session of a row of `session_columns`."""
    return Session._make(row)


def stored_of(row: Row) -> Stored:
    """Return the record of a row of `stored_columns` and `session_columns`."""
    return Stored._make((*row[:_STORED_COLUMNS], session_of(row[_STORED_COLUMNS:])))


def scope_names(scope: Scope) -> tuple[str, str, str]:
    """Return the names of a scope in the order of the statements."""
    return (scope.tenant, scope.app, scope.user)


def find(db: Database, scope: Scope, session_id: str) -> Stored | None:
    """Return the record under that id, gone or not."""
    row = db.row("find_session", (session_id, *scope_names(scope)))
    return None if row is None else stored_of(row)


def present(db: Database, scope: Scope, session_id: str, now: datetime) -> Stored | None:
    """Return the record of a session that is not gone, live or trashed."""
    stored = find(db, scope, session_id)
    return None if stored is None or is_gone(stored.session, now) else stored


def writable(db: Database, scope: Scope, session_id: str, now: datetime) -> Stored:
    """Return the record of a live session for writing; a trashed one is closed."""
    stored = present(db, scope, session_id, now)
    if stored is None:
        raise NotFound("session", session_id)
    if stored.session.state == "trashed":
        raise Closed(session_id)
    return stored


def readable_key(db: Database, scope: Scope, session_id: str, now: datetime) -> int:
    """Return the key of a live session; a trashed one is not found."""
    stored = present(db, scope, session_id, now)
    if stored is None or stored.session.state == "trashed":
        raise NotFound("session", session_id)
    return stored.key


def update_of(before: Session, after: Session) -> tuple[str, list[Any]]:
    """Return the UPDATE of just the columns in which two records differ, and their values; the key comes last.

    An index is written only when one of its columns is.
    """
    at = tuple([index for index, value in enumerate(after) if value != before[index]])
    return _update(at), [after[index] for index in at]


@lru_cache(maxsize=256)
def _update(at: tuple[int, ...]) -> str:
    columns = ", ".join(f"{_FIELDS[index]} = ?" for index in at)
    return f"UPDATE sessions SET {columns} WHERE key = ?"  # noqa: S608 -- the names of fields, no input
