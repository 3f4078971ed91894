"""Keys: how scopes, ids and numbers become the binary keys of items, injectively and in order.

All keys are binary, so that any text is admitted and order is the order of bytes. An incarnation is 26 characters of
base32, unique for ever, so what belongs to a purged session is never met by a later one of the same id.
"""

from __future__ import annotations

import hashlib

from chatkeep.domain.ids import check_id
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.stores.items.tables import Key
from chatkeep.stores.records import STATE_LETTERS, number, place, scope_and_rest, scope_key

BUCKET = 1_000
"""Messages of one partition."""
SHARDS = 4
"""Partitions over which each kind of work is spread."""
ONLY = b"-"
"""The sort key of an item that is alone in its partition."""


def session_key(scope: Scope, session_id: str) -> Key:
    """Return the key of a session's item. Raises Invalid for an id that is none, or LimitExceeded."""
    return Key(scope_key(scope), check_id(session_id, "session_id").encode())


def list_key(session: Session) -> bytes | None:
    """Return the place of a session among those of its state, in ascending order; None for a hidden one."""
    if session.hidden:
        return None
    return STATE_LETTERS[session.state] + place(session)


def bucket_key(incarnation: str, bucket: int) -> bytes:
    """Return the partition of the messages `1 + 1000 * bucket` and on."""
    return incarnation.encode() + b"m" + bucket.to_bytes(4, "big")


def bucket_of(seq: int) -> int:
    """Return the number of the partition that holds a message."""
    return (seq - 1) // BUCKET


def message_key(incarnation: str, seq: int) -> Key:
    """Return the key of a message."""
    return Key(bucket_key(incarnation, bucket_of(seq)), number(seq))


def extras_key(incarnation: str) -> bytes:
    """Return the partition of all that belongs to a session beside its messages."""
    return incarnation.encode() + b"x"


def state_key(incarnation: str, key: str) -> Key:
    """Return the key of a value kept beside a session."""
    return Key(extras_key(incarnation), b"s" + key.encode())


def spill_key(incarnation: str, attempt: bytes, index: int) -> Key:
    """Return the key of a body that is too large for its session's item, written before it."""
    return Key(extras_key(incarnation), b"p" + attempt + index.to_bytes(2, "big"))


def pointer_key(incarnation: str, run_id: str) -> Key:
    """Return the key of the note that a session has a run."""
    return Key(extras_key(incarnation), b"r" + run_id.encode())


def run_key(scope: Scope, run_id: str) -> Key:
    """Return the key of a run's item. Its second byte is 0 or 1, which no incarnation has. Raises as `session_key`."""
    return Key(b"r" + scope_key(scope) + check_id(run_id, "run_id").encode(), ONLY)


def run_of(pk: bytes) -> tuple[Scope, str]:
    """Return the scope and the run id that `run_key` encoded."""
    scope, rest = scope_and_rest(pk[1:])
    return scope, rest.decode()


def events_key(incarnation: str, run_id: str) -> bytes:
    """Return the partition of a run's events and of its request."""
    return incarnation.encode() + b"e" + run_id.encode()


def request_key(incarnation: str, run_id: str, attempt: str) -> Key:
    """Return the key of a run's request, as one claim wrote it. It sorts behind all events."""
    return Key(events_key(incarnation, run_id), b"q" + attempt.encode())


def work_key(kind: bytes, incarnation: str, rest: bytes = b"", *, before: bytes = b"") -> Key:
    """Return the key of a note in the work table; `before` sorts ahead of the incarnation."""
    return Key(kind + bytes((shard_of(incarnation),)), before + incarnation.encode() + rest)


def shard_of(incarnation: str) -> int:
    """Return the shard of a session's work."""
    return incarnation.encode()[-1] % SHARDS


def version_key(scope_pk: bytes) -> Key:
    """Return the key of the count of a scope's purges, which tells nothing of the scope."""
    return Key(b"v" + hashlib.sha256(scope_pk).digest(), ONLY)


SCHEMA_KEY = Key(b"schema", ONLY)
