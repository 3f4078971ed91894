"""An append on its way into a log, alike in every engine: judged, encoded, and with the rules for what follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

from chatkeep.domain.errors import ChatkeepError, Closed, IdReused, NotFound
from chatkeep.domain.ids import message_uids, new_id
from chatkeep.domain.limits import MAX_BATCH_MESSAGES
from chatkeep.domain.messages import Message, NewMessage, to_us
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, appended, created, is_live
from chatkeep.ports.store import REMEMBERED_KEYS, Appended
from chatkeep.stores.checks import check_append
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
    """The messages of one append, encoded, its key, and what is asked of the session."""

    session_id: str
    messages: Sequence[NewMessage]
    bodies: list[bytes]
    uids: list[bytes]
    key: str
    key_hash: bytes
    digest_hash: bytes
    create: NewSession | None
    incarnation: str | None
    change: Callable[[Session, int, datetime], Session]

    def before(self, stored: Session | None, now: datetime) -> Session:
        """Return the record that the append follows from: that of a session that is not gone, or a new one.

        Raises NotFound, Closed.
        """
        if stored is None:
            if self.create is None or self.incarnation is not None:
                raise NotFound("session", self.session_id)
            return created(self.session_id, new_id(), self.create, now, by_append=True)
        if stored.state == "trashed":
            raise Closed(self.session_id)
        if self.incarnation not in (None, stored.incarnation):
            raise NotFound("session", self.session_id)
        return stored

    def grown(self, before: Session, now: datetime) -> Session:
        """Return the record after the append. Raises SeqConflict, NotFound."""
        return self.change(before, len(self.messages), now)

    def grown_from(self, known: Session, now: datetime) -> Session | None:
        """Return the record after an append to one that may be old; None if the stored one must be looked at."""
        if not is_live(known, now) or self.incarnation not in (None, known.incarnation):
            return None
        try:
            return self.grown(known, now)
        except ChatkeepError:
            return None

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


class Appending(ABC):
    """The contract's `append`, for engines that say how a batch is added."""

    async def append(
        self,
        scope: Scope,
        session_id: str,
        messages: Sequence[NewMessage],
        *,
        idempotency_key: str,
        digest: bytes,
        expected_last_seq: int | None = None,
        parent_seq: int | None = None,
        create: NewSession | None = None,
        active_at: datetime | None = None,
        idle_ttl: timedelta | None = None,
        title: str | None = None,
        incarnation: str | None = None,
    ) -> Appended:
        check_append(
            session_id,
            messages,
            idempotency_key,
            digest,
            create=create,
            active_at=active_at,
            title=title,
            idle_ttl=idle_ttl,
        )
        change = partial(
            appended,
            expected_last_seq=expected_last_seq,
            parent_seq=parent_seq,
            active_at=active_at,
            idle_ttl=idle_ttl,
            title=title,
        )
        batch = Batch(
            session_id,
            messages,
            encode_batch(messages),
            message_uids(session_id, idempotency_key, len(messages)),
            idempotency_key,
            hashed(idempotency_key.encode()),
            hashed(digest),
            create,
            incarnation,
            change,
        )
        return await self._add(scope, batch)

    @abstractmethod
    async def _add(self, scope: Scope, batch: Batch) -> Appended:
        """Add a batch once, however often it is asked, as `Store.append` says."""


def repeated(batch: Batch, session: Session, digest_hash: bytes, first_seq: int, last_seq: int) -> Appended:
    """Return what the first append under the key of `batch` did. Raises IdReused if that had another digest.

    `digest_hash` is what is remembered of the hash of its digest, from the beginning.
    """
    if not batch.digest_hash.startswith(digest_hash):
        raise IdReused(batch.key, first_seq=first_seq, last_seq=last_seq)
    return Appended(first_seq, last_seq, session, repeated=True)
