"""The records of sessions: found, judged, and written back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from chatkeep.domain.errors import Closed, NotFound
from chatkeep.domain.ids import new_id
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, created, is_gone
from chatkeep.stores.postgres.texts import is_plain, stored as as_stored, told

if TYPE_CHECKING:
    from chatkeep.stores.postgres.engine import Connection, Row

_ID, _TITLE = Session._fields.index("id"), Session._fields.index("title")
_RUN = Session._fields.index("active_run_id")
_STORED_COLUMNS = 3
_FIRST_MUTABLE = 2
"""The id and the incarnation never change."""


class Stored(NamedTuple):
    """A session's record with what only this engine knows of it."""

    key: int
    scope: int
    changed: int
    session: Session


def scope_names(scope: Scope) -> tuple[str, str, str]:
    """Return the names of a scope in the order of the statements."""
    return (as_stored(scope.tenant), as_stored(scope.app), as_stored(scope.user))


def session_of(row: Row) -> Session:
    """Return the session of a row of `session_columns`."""
    session: Session = tuple.__new__(Session, row)  # as Session._make, which would count the fields again
    if is_plain(f"{session.id}{session.title}{session.active_run_id}"):
        return session
    fields: list[Any] = list(row)
    fields[_ID], fields[_TITLE] = told(fields[_ID]), told(fields[_TITLE])
    if fields[_RUN] is not None:
        fields[_RUN] = told(fields[_RUN])
    return Session._make(fields)


def values_of(session: Session) -> list[Any]:
    """Return the values of `session_columns`."""
    values: list[Any] = list(session)
    values[_ID], values[_TITLE] = as_stored(values[_ID]), as_stored(values[_TITLE])
    if values[_RUN] is not None:
        values[_RUN] = as_stored(values[_RUN])
    return values


def mutable_values(session: Session) -> list[Any]:
    """Return the values of the columns that an update writes."""
    return values_of(session)[_FIRST_MUTABLE:]


def stored_of(row: Row) -> Stored:
    """Return the record of a row of `stored_columns` and `session_columns`."""
    values = tuple(row)
    return Stored._make((*values[:_STORED_COLUMNS], session_of(values[_STORED_COLUMNS:])))


async def find(db: Connection, scope: Scope, session_id: str, *, lock: bool = False) -> Stored | None:
    """Return the record under that id, gone or not; with `lock`, its row waits for this transaction from here on."""
    row = await db.row("lock_session" if lock else "find_session", as_stored(session_id), *scope_names(scope))
    return None if row is None else stored_of(row)


async def present(db: Connection, scope: Scope, session_id: str, now: datetime, *, lock: bool = False) -> Stored | None:
    """Return the record of a session that is not gone, live or trashed."""
    stored = await find(db, scope, session_id, lock=lock)
    return None if stored is None or is_gone(stored.session, now) else stored


async def writable(db: Connection, scope: Scope, session_id: str, now: datetime) -> Stored:
    """Return the record of a live session, locked; a trashed one is closed."""
    stored = await present(db, scope, session_id, now, lock=True)
    if stored is None:
        raise NotFound("session", session_id)
    if stored.session.state == "trashed":
        raise Closed(session_id)
    return stored


def new_record(session_id: str, new: NewSession, now: datetime, *, by_append: bool) -> Session:
    """Return the record of a new incarnation."""
    return created(session_id, new_id(), new, now, by_append=by_append)


async def insert(db: Connection, scope: Scope, session: Session) -> Stored:
    """Store a new record. One of the same id that another transaction stores meanwhile is a race."""
    names = scope_names(scope)
    owner = await db.row("find_scope", *names) or await db.row("insert_scope", *names)
    if owner is None:  # another transaction has just stored it
        owner = await db.one("find_scope", *names)
    row = await db.one("insert_session", owner[0], *values_of(session))
    return Stored(row[0], owner[0], row[1], session)


async def save(db: Connection, stored: Stored, changed: Session) -> Stored:
    """Write what changed of a record whose row is locked, and return it."""
    if changed == stored.session:
        return stored
    row = await db.one("update_session", stored.key, *mutable_values(changed))
    return stored._replace(changed=row[0], session=changed)


async def bury(db: Connection, stored: Stored) -> None:
    """Remove the record: from here on nothing of the session is found. The rest lies in its grave."""
    await db.run("delete_session", stored.key)
    await db.run("dig_grave", stored.key, stored.scope)
    await db.run("bump_scope", stored.scope)
