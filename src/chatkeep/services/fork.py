"""Fork: the active path of a session, up to some message, as a session of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from chatkeep.domain.errors import CorruptRecord, IdReused, NotFound, RevisionConflict, SeqConflict, SessionExists
from chatkeep.domain.ids import check_id, derived_id, new_id as random_id
from chatkeep.domain.limits import MAX_BATCH_MESSAGES
from chatkeep.domain.messages import Content, JsonValue, Message, NewMessage
from chatkeep.domain.paths import clip, on_path, path_length
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession, Session, SessionPatch, dump
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import Store
from chatkeep.services.arrivals import mark_arrival
from chatkeep.services.batches import Batch
from chatkeep.services.digests import digest_of_messages
from chatkeep.services.retrying import retried

ABANDONED_AFTER = timedelta(days=1)
"""A copy that was begun and is not continued expires, unseen, after so long."""

_STATE_KEY = "chatkeep.fork"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a copy is made of, kept beside the copy so that any repeat goes on in the same way."""

    source_id: str
    incarnation: str
    asked_seq: int | None
    title: str | None
    ranges: tuple[tuple[int, int], ...]
    idle_ttl_ms: int | None

    def encode(self) -> bytes:
        return dump(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> _Plan:
        fields = json.loads(value)
        fields["ranges"] = tuple((low, high) for low, high in fields["ranges"])
        return cls(**fields)

    @property
    def count(self) -> int:
        return path_length(self.ranges)

    @property
    def asked(self) -> tuple[str, str, int | None, str | None]:
        """What a repeat must ask for again."""
        return (self.source_id, self.incarnation, self.asked_seq, self.title)

    def metadata(self, inherited: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the copy's metadata."""
        seq = self.ranges[-1][1] if self.ranges else 0
        return {**inherited, "forked_from": {"session_id": self.source_id, "seq": seq}}

    @property
    def idle_ttl(self) -> timedelta | None:
        return None if self.idle_ttl_ms is None else timedelta(milliseconds=self.idle_ttl_ms)

    def source_seq(self, seq: int) -> int:
        """Return the seq that the copy's message `seq` has in the source."""
        skipped = 0
        for low, high in self.ranges:
            if seq <= skipped + high - low + 1:
                return low + seq - skipped - 1
            skipped += high - low + 1
        raise SeqConflict(f"message {seq} was never part of the fork", last_seq=skipped)


class ForkService:
    """Copies in steps that any repeat continues; the copy is in no list until it is complete."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def fork(
        self,
        scope: Scope,
        session_id: str,
        *,
        at_seq: int | None = None,
        new_id: str | None = None,
        title: str | None = None,
        idempotency_key: str | None = None,
    ) -> Session:
        """Copy the active path up to and with `at_seq` (None: all of it) into a new session and return that.

        Messages are numbered from 1 and keep role, status, time, content and redaction, but not their feedback, nor the
        reports of what models saw. The session is active, has the settings and the metadata of the source, and in the
        metadata `forked_from`, an object of `session_id` and `seq`. `title` None keeps the source's.

        With an `idempotency_key` a repeat returns the first fork, or completes it after a crash; its id derives from
        the key unless `new_id` is given. Raises NotFound, SeqConflict when `at_seq` is not on the active path or the
        rest of it was pruned before it was copied, SessionExists and Closed when `new_id` is taken, IdReused for a key
        that came with other arguments, and CorruptRecord for a message that cannot be read: a fork leaves nothing out
        silently; redact that message, or fork before it.
        """
        made, _ = await self.fork_once(
            scope, session_id, at_seq=at_seq, new_id=new_id, title=title, idempotency_key=idempotency_key
        )
        return made

    async def fork_once(
        self,
        scope: Scope,
        session_id: str,
        *,
        at_seq: int | None = None,
        new_id: str | None = None,
        title: str | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[Session, bool]:
        """As `fork`; also return whether this call completed it, and not an earlier one of the same key."""
        source = await self._store.find_session(scope, session_id)
        if source is None:
            raise NotFound("session", session_id)
        if idempotency_key is not None:
            check_id(idempotency_key, "idempotency_key")
        if idempotency_key is None:
            return await self._begin(scope, source, new_id or random_id(), at_seq, title), True
        target_id = new_id or derived_id("fork", source.incarnation, idempotency_key)
        target = await self._store.find_session(scope, target_id)
        begun = None if target is None else await self._store.get_state(scope, target_id, _STATE_KEY)
        if target is None or begun is None:
            try:
                return await self._begin(scope, source, target_id, at_seq, title, adopt=True), True
            except RevisionConflict:  # a repeat beside this one was first
                return await self.fork_once(
                    scope, session_id, at_seq=at_seq, new_id=new_id, title=title, idempotency_key=idempotency_key
                )
        plan = _Plan.decode(begun.value)
        if (source.id, source.incarnation, at_seq, title) != plan.asked:
            raise IdReused(idempotency_key)
        return await self._complete(scope, target, plan), bool(target.hidden)

    async def _begin(
        self,
        scope: Scope,
        source: Session,
        target_id: str,
        at_seq: int | None,
        title: str | None,
        *,
        adopt: bool = False,
    ) -> Session:
        """Create the copy, write its plan and carry it out. `adopt` takes over what a crash in between has left."""
        plan = _planned(source, at_seq, title)
        new = NewSession(
            title=source.title if title is None else title,
            title_source=source.title_source if title is None else "user",
            metadata=plan.metadata(source.metadata),
            idle_ttl=ABANDONED_AFTER,
            hidden=HIDDEN_UNTIL_REVEAL,
        )
        if adopt:
            target, _ = await self._store.ensure_session(scope, target_id, new)
        else:
            target = await self._store.create_session(scope, target_id, new)
        if not target.hidden or target.last_seq:
            raise SessionExists(target_id)
        await mark_arrival(self._store, scope, target_id, self._clock())
        await self._store.put_state(scope, target_id, _STATE_KEY, plan.encode(), expected_version=0)
        return await self._complete(scope, target, plan)

    async def _complete(self, scope: Scope, target: Session, plan: _Plan) -> Session:
        """Copy what is missing and show the copy; one that is shown is returned as it is."""
        while target.hidden and target.last_seq < plan.count:
            target = await self._copy(scope, target, plan)
        if not target.hidden:
            return target
        await self._redact(scope, target, plan)
        patch = SessionPatch(
            metadata=plan.metadata(target.metadata), reveal=True, set_idle_ttl=True, idle_ttl=plan.idle_ttl
        )
        try:
            return await self._store.update_session(scope, target.id, patch, expected_revision=target.revision)
        except RevisionConflict:
            found = await self._store.find_session(scope, target.id)
            if found is None or found.hidden:
                raise
            return found

    async def _copy(self, scope: Scope, target: Session, plan: _Plan) -> Session:
        """Append the next batch and return the copy after it; when another caller was first, the copy as it is."""
        await self._redact(scope, target, plan)
        first = target.last_seq + 1
        last = min(plan.count, target.last_seq + MAX_BATCH_MESSAGES)
        batch = Batch()
        for message in await self._read(scope, plan, first, last):
            if not batch.take(NewMessage(message.role, _copied(message.content), message.status, message.created_at)):
                break
        try:
            appended = await retried(
                lambda: self._store.append(
                    scope,
                    target.id,
                    batch.messages,
                    idempotency_key=f"fork/{first}",
                    digest=digest_of_messages(batch.messages, parent_seq=None),
                    expected_last_seq=target.last_seq,
                    idle_ttl=ABANDONED_AFTER,
                    incarnation=target.incarnation,
                )
            )
        except (SeqConflict, IdReused):
            found = await self._store.find_session(scope, target.id)
            if found is None:
                raise
            return found
        return appended.session

    async def _redact(self, scope: Scope, target: Session, plan: _Plan) -> None:
        """Mark what is redacted in the source among the newest copies: those of the last batch, whoever wrote it."""
        first = max(1, target.last_seq - MAX_BATCH_MESSAGES + 1)
        if target.last_seq == 0:
            return
        for seq, message in enumerate(await self._read(scope, plan, first, target.last_seq), start=first):
            if message.redacted:
                await self._store.redact(scope, target.id, seq)

    async def _read(self, scope: Scope, plan: _Plan, first: int, last: int) -> Sequence[Message]:
        """Return the source's messages that have, or will have, the seqs `first` to `last` in the copy."""
        low, high = plan.source_seq(first), plan.source_seq(last)
        source = await self._store.find_session(scope, plan.source_id)
        if source is None or source.incarnation != plan.incarnation:
            raise NotFound("session", plan.source_id)
        if source.first_seq > low:
            raise SeqConflict(
                f"message {low} was pruned before it was forked; fork again with another key", last_seq=source.last_seq
            )
        found: list[Message] = []
        for begin, end in clip(plan.ranges, after_seq=low - 1, before_seq=high + 1):
            read = await self._store.read(
                scope, source.id, after_seq=begin - 1, before_seq=end + 1, limit=end - begin + 1, path="all"
            )
            for entry in read:
                if not isinstance(entry, Message):
                    raise CorruptRecord(
                        f"message {entry.seq} of session {source.id!r} cannot be read ({entry.reason}); redact it, or "
                        "fork before it"
                    )
                found.append(entry)
        return found


def _planned(source: Session, at_seq: int | None, title: str | None) -> _Plan:
    last = source.head_seq if at_seq is None else at_seq
    if at_seq is not None and not on_path(at_seq, source.path):
        raise SeqConflict(
            f"message {at_seq} is not on the active path of session {source.id!r}", last_seq=source.last_seq
        )
    ranges = clip(source.path, after_seq=0, before_seq=last + 1)
    return _Plan(source.id, source.incarnation, at_seq, title, ranges, source.idle_ttl_ms)


def _copied(content: Content) -> Content:
    """Return the content without the report of what its model saw, which names messages by the seqs they had there."""
    return content if content.context is None else replace(content, context=None)
