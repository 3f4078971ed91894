"""An append on its way into a log, alike in every engine that numbers messages by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, Self

from chatkeep.domain.errors import Closed, NotFound
from chatkeep.domain.ids import message_uids, new_id
from chatkeep.domain.limits import MAX_BATCH_MESSAGES
from chatkeep.domain.messages import Message, NewMessage, to_us
from chatkeep.domain.sessions import NewSession, Session, created
from chatkeep.ports.store import REMEMBERED_KEYS
from chatkeep.stores.codec import decode, encode_batch

REMEMBERED_MESSAGES = REMEMBERED_KEYS * MAX_BATCH_MESSAGES
"""A key is remembered until so many messages came after it: the latest REMEMBERED_KEYS keys, however large theirs."""
_FORGET_EVERY = 1_024


message_of: Callable[[tuple[Any, ...]], Message] = partial(tuple.__new__, Message)
"""As Message._make, which would count the fields again."""


def forgets(last_seq: int, grown_to: int) -> bool:
    """Return whether an append passes a border where older keys are forgotten."""
    return last_seq // _FORGET_EVERY != grown_to // _FORGET_EVERY


def hashed(value: bytes) -> bytes:
    """Return 16 bytes that stand for a key or a digest."""
    return blake2b(value, digest_size=16).digest()


class Batch(NamedTuple):
    """The messages of one append, encoded, and its key."""

    session_id: str
    messages: Sequence[NewMessage]
    bodies: list[bytes]
    uids: list[bytes]
    key: str
    key_hash: bytes
    digest_hash: bytes

    @classmethod
    def of(cls, session_id: str, messages: Sequence[NewMessage], key: str, digest: bytes) -> Self:
        """Encode an append. Raises Invalid or LimitExceeded."""
        bodies = encode_batch(messages)
        uids = message_uids(session_id, key, len(messages))
        return cls(session_id, messages, bodies, uids, key, hashed(key.encode()), hashed(digest))

    def numbered(self, before: Session, grown: Session, now: datetime) -> tuple[Message, ...]:
        """Return the messages as they stand behind the record `before`, of which `grown` is what follows."""
        last = before.last_seq
        parent = last if grown.jumps_json == before.jumps_json else grown.jumps[-1][1]
        now_us = to_us(now)
        numbered: list[Message] = []
        for index, (message, body) in enumerate(zip(self.messages, self.bodies, strict=True)):
            made_us = now_us if message.created_at is None else to_us(message.created_at)
            seq = last + 1 + index
            fields = (message.uid or self.uids[index], message.role, message.status, made_us)
            numbered.append(message_of((seq, parent, *fields, 0, None, body, decode)))
            parent = seq
        return tuple(numbered)


def record_before(stored: Session | None, session_id: str, create: NewSession | None, now: datetime) -> Session:
    """Return the record that an append follows from: that of a session that is not gone, or a new one.

    Raises NotFound, Closed.
    """
    if stored is None:
        if create is None:
            raise NotFound("session", session_id)
        return created(session_id, new_id(), create, now, by_append=True)
    if stored.state == "trashed":
        raise Closed(session_id)
    return stored
