"""The records of sessions: stored, and written back column by column."""

from __future__ import annotations

from datetime import datetime

from chatkeep.domain.ids import new_id
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, created
from chatkeep.stores.sqlite.records import Stored, scope_names, update_of
from chatkeep.stores.sqlite.transaction import Write


def scope_key(write: Write, scope: Scope) -> int:
    """Return the key of the scope, which gets one if it has none."""
    names = scope_names(scope)
    found = write.db.row("find_scope", names) or write.db.row("insert_scope", names)
    if found is None:
        raise AssertionError("an INSERT with RETURNING returns its row")
    key: int = found[0]
    return key


def insert(write: Write, scope: Scope, session: Session) -> Stored:
    """Store a new record."""
    owner = scope_key(write, scope)
    due = int(write.search and session.title != "")
    row = write.db.row("insert_session", (owner, *session, due))
    if row is None:
        raise AssertionError("an INSERT with RETURNING returns its row")
    write.indexable += due
    write.touch(owner)
    return Stored(row[0], owner, 0, 0, due, session)


def new_record(session_id: str, new: NewSession, now: datetime, *, by_append: bool) -> Session:
    """Return the record of a new incarnation."""
    return created(session_id, new_id(), new, now, by_append=by_append)


def save(write: Write, stored: Stored, changed: Session) -> Session:
    """Write the columns in which `changed` differs, and return it. The title's place in the search index is not looked
    at.
    """
    before = stored.session
    if changed == before:
        return changed
    statement, values = update_of(before, changed)
    write.db.sql(statement, [*values, stored.key])
    write.touch(stored.scope)
    return changed
