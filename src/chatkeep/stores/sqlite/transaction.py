"""A transaction in progress, as the calls in it see it."""

from __future__ import annotations

from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.stores.sqlite.connection import Database, Row
from chatkeep.stores.sqlite.records import Stored, scope_names, stored_of, update_of


class Appends:
    """The appends of a transaction that are decided and not written yet.

    They are written together, with one statement for each table, which takes half the time of writing them one by one.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._found: dict[tuple[Scope, str], Stored] = {}
        self._before: dict[int, Session] = {}
        self._messages: list[Row] = []
        self._keys: dict[tuple[int, bytes], Row] = {}
        self._forgotten: list[Row] = []

    def __bool__(self) -> bool:
        """Whether there is something to write."""
        return bool(self._before)

    def find(self, scope: Scope, session_id: str, name: bytes) -> tuple[Row | None, Stored | None]:
        """Return what is remembered of an idempotency key (digest, first seq, last seq), and the session's record."""
        stored = self._found.get((scope, session_id))
        if stored is None:
            row = self._db.row("find_for_append", (session_id, name, *scope_names(scope)))
            if row is None:
                return None, None
            return None if row[0] is None else row[:3], stored_of(row[3:])
        key = self._keys.get((stored.key, name))
        return self._db.row("find_key", (stored.key, name)) if key is None else key[2:], stored

    def add(self, scope: Scope, stored: Stored, grown: Session, messages: list[Row], key: Row) -> None:
        """Add messages, an idempotency key, and the session's record as it is after them."""
        self._before.setdefault(stored.key, stored.session)
        self._found[scope, grown.id] = stored._replace(session=grown)
        self._messages += messages
        self._keys[key[0], key[1]] = key

    def forget_keys(self, stored: Stored, below_seq: int) -> None:
        """Let the idempotency keys of messages below a seq be forgotten."""
        self._forgotten.append((stored.key, below_seq))

    def write(self) -> None:
        """Write everything."""
        if not self:
            return
        self._db.run_many("insert_message", self._messages)
        self._db.run_many("remember_key", list(self._keys.values()))
        self._db.run_many("forget_keys", self._forgotten)
        updates: dict[str, list[Row]] = {}
        for stored in self._found.values():
            statement, values = update_of(self._before[stored.key], stored.session)
            updates.setdefault(statement, []).append((*values, stored.key))
        for statement, many in updates.items():
            self._db.sql_many(statement, many)
        self.drop()

    def drop(self) -> None:
        """Forget everything."""
        self._found.clear()
        self._before.clear()
        self._messages.clear()
        self._keys.clear()
        self._forgotten.clear()


class Write:
    """What a call may do in the transaction. A call that raises must not have changed anything by then, or be repeated
    in a transaction of its own; see Writer.
    """

    def __init__(self, db: Database, *, search: bool) -> None:
        self.search = search
        self.indexable = 0
        """How many messages and titles were stored that wait for the search index; the writer counts on."""
        self.appends = Appends(db)
        self.beside_appends = db
        """The database without the appends, for what has nothing to do with them."""
        self._changes = 0
        self._touched: set[int] = set()
        self._wipe = False

    @property
    def db(self) -> Database:
        """The database, with all appends so far."""
        if self.appends:
            self.appends.write()
            self.begin_call()
        return self.beside_appends

    def begin_call(self) -> None:
        """From here on `changed` counts."""
        self._changes = self.beside_appends.connection.total_changes()

    @property
    def changed(self) -> bool:
        """Whether the call has changed the database."""
        return self.beside_appends.connection.total_changes() != self._changes

    def touch(self, scope: int) -> None:
        """Let the version of the scope rise with the commit."""
        self._touched.add(scope)

    def wipe(self) -> None:
        """Something was removed for good: let no copy of it stay in the log of the database."""
        self._wipe = True

    def finish(self) -> None:
        """Write what is left, and the versions; the last thing before the commit."""
        self.appends.write()
        self.beside_appends.run_many("bump_scope", [(scope,) for scope in self._touched])
        self._touched.clear()

    def forget(self) -> None:
        """The transaction was rolled back."""
        self.appends.drop()
        self._touched.clear()

    def take_wipe(self) -> bool:
        """Return whether `wipe` was called, once."""
        wanted, self._wipe = self._wipe, False
        return wanted
