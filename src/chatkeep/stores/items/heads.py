"""What the items hold, and how it is read back."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from chatkeep.domain.errors import CorruptRecord
from chatkeep.domain.messages import Message, Unreadable
from chatkeep.domain.runs import Run
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, dump, to_ms
from chatkeep.ports.store import REMEMBERED_KEYS
from chatkeep.stores.batches import Batch
from chatkeep.stores.codec import decode, fault
from chatkeep.stores.items.keys import events_key, list_key, message_key, request_key, run_key, session_key
from chatkeep.stores.items.tables import Item, Key, bytes_of, int_of, text_of
from chatkeep.stores.records import moment, number, run_from_fields, run_to_fields, session_from_json, session_to_json

_HASH_BYTES = 16
_DIGEST_BYTES = 8
_SEQ_BYTES = 7
_ENTRY_BYTES = _HASH_BYTES + _DIGEST_BYTES + _SEQ_BYTES + 1
_ROW_BYTES = 256
"""What a row takes beside its body, reckoned amply."""


def find_key(keys: bytes, key_hash: bytes) -> tuple[bytes, int, int] | None:
    """Return what a remembered key stands for: the beginning of the hash of its digest, the first and the last seq.

    An entry: the hash of the key (16 bytes), the beginning of that of the digest (8 bytes), the first seq (7 bytes),
    the number of messages (1 byte).
    """
    for at in range(0, len(keys), _ENTRY_BYTES):
        if keys.startswith(key_hash, at):
            rest = keys[at + _HASH_BYTES : at + _ENTRY_BYTES]
            first = int.from_bytes(rest[_DIGEST_BYTES:-1], "big")
            return rest[:_DIGEST_BYTES], first, first + rest[-1] - 1
    return None


def with_key(keys: bytes, batch: Batch, first_seq: int, last_seq: int) -> bytes:
    """Return the remembered keys with one more, without the oldest beyond REMEMBERED_KEYS."""
    stands_for = first_seq.to_bytes(_SEQ_BYTES, "big") + bytes((last_seq - first_seq + 1,))
    return (keys + batch.key_hash + batch.digest_hash[:_DIGEST_BYTES] + stands_for)[-REMEMBERED_KEYS * _ENTRY_BYTES :]


def key_count(keys: bytes) -> int:
    """Return how many keys are remembered."""
    return len(keys) // _ENTRY_BYTES


class Row(NamedTuple):
    """A row that belongs below a head: `n` is its number, `item` its attributes without the key."""

    n: int
    item: Item

    @property
    def size(self) -> int:
        """About the bytes it takes."""
        body = self.item.get("body", b"")
        return _ROW_BYTES + len(body.encode() if isinstance(body, str) else body)


def rows_from(item: Item) -> tuple[Row, ...]:
    """Return the rows that an item holds."""
    return tuple(Row(int_of(entry, "n"), entry) for entry in item.get("tail", ()))


@dataclass(frozen=True, slots=True)
class Head:
    """A session's item.

    `version` counts its writes; 0 is not stored yet. `tail` holds rows of the newest appends: they are committed with
    the item, and copied to the log before they leave it.
    """

    scope: Scope
    session: Session
    version: int = 0
    keys: bytes = b""
    tail: tuple[Row, ...] = ()

    @property
    def key(self) -> Key:
        """The key of the item."""
        return session_key(self.scope, self.session.id)

    @property
    def incarnation(self) -> str:
        """The incarnation of the session."""
        return self.session.incarnation

    @property
    def partition(self) -> bytes:
        """What tells its rows from those of all other heads."""
        return self.incarnation.encode()

    def row_key(self, seq: int) -> Key:
        """Return where the row of a message lies."""
        return message_key(self.incarnation, seq)

    def changed(self, session: Session) -> Head:
        """Return the head with another record."""
        return replace(self, session=session)


def head_to_item(head: Head, now: datetime) -> Item:
    """Return the attributes of a session's item."""
    session = head.session
    ends = session.trash_until_ms if session.state == "trashed" else session.expires_at_ms
    place = list_key(session)
    item = {
        "ver": head.version,
        "inc": session.incarnation,
        "rec": session_to_json(session),
        "last": session.last_seq,
        "chg": change_stamp(now),
    }
    if place is not None:
        item["lst"] = place
    if ends is not None:
        item["ends"] = ends
    if head.keys:
        item["ids"] = head.keys
    if head.tail:
        item["tail"] = [row.item for row in head.tail]
    return item


def change_stamp(now: datetime) -> bytes:
    """Return what marks one change: its time, and 64 random bits."""
    return moment(to_ms(now)) + secrets.token_bytes(8)


def session_from(item: Item) -> Session:
    """Return the session that an item holds. Raises CorruptRecord."""
    return session_from_json(item.get("rec", ""))


def head_from(scope: Scope, item: Item) -> Head:
    """Return the head that an item holds. Raises CorruptRecord."""
    session = session_from(item)
    keys = bytes_of(item, "ids") if "ids" in item else b""
    return Head(scope, session, int_of(item, "ver"), keys, rows_from(item))


def message_item(message: Message) -> Item:
    """Return the attributes of a new message's row."""
    return {
        "n": message.seq,
        "parent": message.parent_seq,
        "uid": message.uid,
        "who": message.role,
        "stat": message.status,
        "made": message.created_at_us,
        "body": message.body,
    }


def message_from(item: Item) -> Message:
    """Return the message of a row, whose body must be sound."""
    return Message(
        int_of(item, "n"),
        int_of(item, "parent"),
        bytes_of(item, "uid"),
        text_of(item, "who"),  # type: ignore[arg-type]  # one of ROLES, as it was written
        text_of(item, "stat"),  # type: ignore[arg-type]  # one of STATUSES, as it was written
        int_of(item, "made"),
        int("gone" in item),
        text_of(item, "fb") if "fb" in item else None,
        bytes_of(item, "body"),
        decode,
    )


def entry_from(seq: int, item: Item | None) -> Message | Unreadable:
    """Return what a reader sees of a row."""
    if item is None:
        return Unreadable(seq, "the row is missing")
    try:
        reason = fault(bytes_of(item, "body"))
        return Unreadable(seq, reason) if reason else message_from(item)
    except (KeyError, TypeError, ValueError) as error:
        return Unreadable(seq, f"the row cannot be decoded: {error!r}")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run's item. `run.request` is empty: it lies apart, under `attempt`, so that no claim removes another's. Events
    up to `dropped` are gone.
    """

    scope: Scope
    run: Run
    attempt: str
    version: int = 0
    dropped: int = 0
    tail: tuple[Row, ...] = ()

    @property
    def key(self) -> Key:
        """The key of the item."""
        return run_key(self.scope, self.run.id)

    @property
    def incarnation(self) -> str:
        """The incarnation of its session."""
        return self.run.incarnation

    @property
    def request_key(self) -> Key:
        """Where the request lies until the run is over."""
        return request_key(self.incarnation, self.run.id, self.attempt)

    @property
    def partition(self) -> bytes:
        """What tells its rows from those of all other heads."""
        return events_key(self.incarnation, self.run.id)

    def row_key(self, event: int) -> Key:
        """Return where an event lies."""
        return Key(self.partition, number(event))


def run_to_item(stored: StoredRun) -> Item:
    """Return the attributes of a run's item."""
    run = stored.run
    record = run_to_fields(run) | {"dropped": stored.dropped, "attempt": stored.attempt}
    item = {"ver": stored.version, "inc": stored.incarnation, "rec": dump(record)}
    if stored.tail:
        item["tail"] = [row.item for row in stored.tail]
    return item


def run_from(scope: Scope, run_id: str, item: Item) -> StoredRun:
    """Return the run that an item holds. Raises CorruptRecord."""
    try:
        record = json.loads(item["rec"])
        run = run_from_fields(run_id, text_of(item, "inc"), "", record)
        return StoredRun(
            scope, run, str(record["attempt"]), int_of(item, "ver"), int(record["dropped"]), rows_from(item)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptRecord(f"a run's item cannot be decoded: {error!r}") from error
