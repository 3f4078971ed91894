"""Appends behind records that are known, for one session or several with one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from chatkeep.domain.errors import Unavailable
from chatkeep.domain.messages import Message
from chatkeep.domain.sessions import Session
from chatkeep.ports.store import Appended
from chatkeep.stores.batches import Batch
from chatkeep.stores.checks import MAX_SEQ
from chatkeep.stores.postgres.engine import Connection
from chatkeep.stores.postgres.records import Stored, values_of

_CHANGING = (
    "title", "title_source", "state", "pinned_at_ms", "modified_at_ms", "idle_ttl_ms", "expires_at_ms", "last_seq",
    "head_seq", "jumps_json", "revision", "hidden",
)  # fmt: skip
_CHANGING_AT = tuple(Session._fields.index(name) for name in _CHANGING)


class Growth(NamedTuple):
    """What an append makes of a record."""

    stored: Stored
    grown: Session
    batch: Batch
    messages: tuple[Message, ...]

    def done(self, changed: int) -> tuple[Appended, Stored]:
        """Return what became of it, given the number that the row has now."""
        first_seq = self.stored.session.last_seq + 1
        appended = Appended(first_seq, self.grown.last_seq, self.grown, repeated=False, messages=self.messages)
        return appended, self.stored._replace(changed=changed, session=self.grown)

    def fields(self) -> list[Any]:
        """Return what the statements want to know of the session and the key."""
        values = values_of(self.grown)
        session = (values[at] for at in _CHANGING_AT)
        return [self.stored.key, self.stored.changed, self.batch.key_hash, self.batch.digest_hash, *session]

    def rows(self) -> list[tuple[Any, ...]]:
        """Return what they want to know of the messages."""
        return [
            (seq, None if parent == seq - 1 else parent, uid, role, status, made_us, body)
            for seq, parent, uid, role, status, made_us, _, _, body, _ in self.messages
        ]


def growth_of(stored: Stored, grown: Session, batch: Batch, messages: tuple[Message, ...]) -> Growth:
    """Return an append. Raises Unavailable for a session that cannot hold more."""
    if grown.last_seq > MAX_SEQ:
        raise Unavailable(f"session {grown.id!r} is full; fork it")
    return Growth(stored, grown, batch, messages)


async def grow(db: Connection, growth: Growth) -> int | None:
    """Add the messages and write the record after them; return the number that its row has now.

    None, and nothing is done, if the record is another one by now, or the key is remembered.
    """
    columns = (list(column) for column in zip(*growth.rows(), strict=True))
    row = await db.row("append", *growth.fields(), *columns, growth.stored.session.last_seq + 1)
    return None if row is None else row[0]


async def grow_all(db: Connection, growths: Sequence[Growth]) -> list[int | None]:
    """Do the same for several records, each by itself: None also for one that another transaction holds just now, and
    for the second append to the same.
    """
    first = {growth.stored.key: growth for growth in reversed(growths)}
    fields = [(*growth.fields(), growth.stored.session.last_seq + 1) for growth in first.values()]
    rows = [(key, *row) for key, growth in first.items() for row in growth.rows()]
    columns = (list(column) for table in (fields, rows) for column in zip(*table, strict=True))
    changed = dict(map(tuple, await db.rows("append_all", *columns)))
    return [changed.get(growth.stored.key) if first[growth.stored.key] is growth else None for growth in growths]
