"""One session on its way in."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal, NamedTuple

from chatkeep.domain.errors import Closed, Conflict, Invalid, NotFound
from chatkeep.domain.messages import Feedback, Message, NewMessage, Text, Unreadable, to_us
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session
from chatkeep.domain.titles import auto_title
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import Store
from chatkeep.services.arrivals import mark_arrival
from chatkeep.services.batches import Batch, content_text
from chatkeep.services.digests import digest_of_messages
from chatkeep.services.jsonl import MessageRecord, SessionRecord
from chatkeep.services.retrying import retried
from chatkeep.services.seqmap import SeqMap

Outcome = Literal["created", "continued", "unchanged", "conflict", "invalid"]

_READ = 100


@dataclass(frozen=True, slots=True)
class ImportItem:
    """What became of one session. `session_id` None: the lines did not name one. `reason` is empty when all is well."""

    session_id: str | None
    outcome: Outcome
    messages_added: int = 0
    reason: str = ""


class _Mark(NamedTuple):
    """Feedback or a redaction that follows its message into the log."""

    seq: int
    feedback: Feedback | None
    redacted: bool


class SessionImport:
    """Compares what comes in with what is stored, message by message, and appends what is missing.

    Nothing is written before everything that is stored has been compared. One batch is held at a time. `dry_run` writes
    nothing and finds out the same. Temporary errors of the store are retried, then raised: another import goes on.
    """

    def __init__(
        self,
        store: Store,
        scope: Scope,
        record: SessionRecord,
        *,
        clock: Clock,
        idle_ttl: timedelta | None,
        dry_run: bool,
    ) -> None:
        self._store = store
        self._scope = scope
        self._record = record
        self._clock = clock
        self._idle_ttl = idle_ttl
        self._dry_run = dry_run
        self._session: Session | None = None
        self._opened = False
        self._created = False
        self._changed = False
        self._refusal: tuple[Outcome, str] | None = None
        self._seqs = SeqMap()
        self._there = 0
        self._here = 0
        self._stored_last = 0
        self._window: deque[Message | Unreadable] = deque()
        self._batch = Batch()
        self._batch_parent = 0
        self._marks: list[_Mark] = []
        self._arrival_noted = False
        self.added = 0
        """How many messages have been appended."""

    @property
    def session_id(self) -> str:
        """The session's id, there and here."""
        return self._record.id

    async def add(self, record: MessageRecord) -> None:
        """Take the next message. After a conflict or a fault the rest is passed over."""
        await self._attempt(lambda: self._take(record))

    async def stop(self, reason: str) -> None:
        """Pass over the rest, since a line of it cannot be used; what came before is kept."""
        await self._attempt(self._flush)
        self._refuse("invalid", reason)

    async def finish(self) -> ImportItem:
        """Write what is left, select the head, and say what became of the session."""
        await self._attempt(self._complete)
        if self._refusal is not None:
            outcome, reason = self._refusal
            return ImportItem(self.session_id, outcome, self.added, reason)
        changed = self._changed or self.added > 0
        return ImportItem(
            self.session_id,
            "created" if self._created else "continued" if changed else "unchanged",
            self.added,
            self._missing(),
        )

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step unless an earlier one was refused; what the session or the input does not allow, refuses it."""
        if self._refusal is not None:
            return
        try:
            await step()
        except (Conflict, NotFound) as error:
            self._refuse("conflict", str(error))
        except Invalid as error:
            await self._attempt(self._flush)
            self._refuse("invalid", str(error))

    def _refuse(self, outcome: Outcome, reason: str) -> None:
        """Note why the rest is passed over; the first reason stands."""
        if self._refusal is None:
            self._refusal = (outcome, reason)

    def _missing(self) -> str:
        record = self._record
        if record.last_seq is None or self._there >= record.last_seq or (record.first_seq or 1) > record.last_seq:
            return ""
        return f"the input ends before message {record.last_seq}"

    async def _open(self, first: MessageRecord | None) -> None:
        """Find or create the session, and find out where its messages stand."""
        self._opened = True
        found = await retried(lambda: self._store.find_session(self._scope, self.session_id, include_trashed=True))
        if found is not None and found.state == "trashed":
            raise Closed(self.session_id)
        self._created = found is None
        if found is None and not self._dry_run:
            new = self._settings(first)
            found, self._created = await retried(lambda: self._store.ensure_session(self._scope, self.session_id, new))
        self._session = found
        self._stored_last = 0 if found is None else found.last_seq
        if found is None or first is None or first.seq is None or not found.first_seq <= first.seq <= found.last_seq:
            return
        entry = await self._equal_at(first.seq, first)
        if entry is None:
            return
        # An import of a pruned session puts its messages at the start, where an equal one may stand at the old place.
        is_copy = found.first_seq == 1 < first.seq and entry.id != first.id and await self._equal_at(1, first)
        if not is_copy:
            self._here = first.seq - 1

    async def _equal_at(self, seq: int, record: MessageRecord) -> Message | None:
        """Return the message stored at `seq` if it is the record."""
        entry = await self._entry(seq)
        self._window.clear()
        return entry if isinstance(entry, Message) and _is_same(record, entry) else None

    def _settings(self, first: MessageRecord | None) -> NewSession:
        record = self._record
        return NewSession(
            title=record.title or "",
            title_source=record.title_source,
            state=record.state,
            metadata=record.metadata,
            created_at=record.created_at or (None if first is None else first.new.created_at),
            idle_ttl=self._idle_ttl,
        )

    async def _take(self, record: MessageRecord) -> None:
        if not self._opened:
            await self._open(record)
        there = self._there + 1 if record.seq is None else record.seq
        if there <= self._there:
            raise Invalid(f"message {there} stands behind message {self._there}", field="seq")
        parent = self._here if record.parent_seq is None else self._seqs.get(record.parent_seq)
        here = self._here + 1
        if record.unreadable and not await self._is_unreadable(here):
            self._seqs.alias(there, parent or 0)
            self._there = there
            return
        if here <= self._stored_last:
            await self._compare(here, parent, record)
        else:
            await self._append(here, parent or 0, record)
        self._seqs.add(there, here)
        self._there, self._here = there, here

    async def _compare(self, here: int, parent: int | None, record: MessageRecord) -> None:
        """Raise Conflict unless the message is the one that is stored at `here`, or was there before it was pruned."""
        if self._session is not None and here < self._session.first_seq:
            return
        entry = await self._entry(here)
        if record.unreadable:
            return
        if isinstance(entry, Unreadable):
            raise Conflict(f"message {here} is stored here but cannot be read, so that it cannot be compared")
        if (parent is not None and parent != entry.parent_seq) or not _is_same(record, entry):
            raise Conflict(f"message {here} is stored here with another content; nothing was changed")
        redacted_here = entry.redacted and not record.redacted
        lacks_feedback = record.feedback is not None and entry.feedback is None and not redacted_here
        if lacks_feedback or (record.redacted and not entry.redacted):
            self._marks.append(_Mark(here, record.feedback, redacted=record.redacted))

    async def _entry(self, seq: int) -> Message | Unreadable:
        if not self._window:
            self._window.extend(
                await retried(
                    lambda: self._store.read(self._scope, self.session_id, after_seq=seq - 1, limit=_READ, path="all")
                )
            )
        entry = self._window.popleft() if self._window else None
        if entry is None or entry.seq != seq:
            raise Conflict(f"message {seq} was removed here while it was compared")
        return entry

    async def _is_unreadable(self, here: int) -> bool:
        """Return whether the row stored at `here` cannot be read: then it is the one that the export could not read."""
        if self._session is None or not self._session.first_seq <= here <= self._stored_last:
            return False
        entry = await self._entry(here)
        self._window.appendleft(entry)
        return isinstance(entry, Unreadable)

    async def _append(self, here: int, parent: int, record: MessageRecord) -> None:
        follows = parent == here - 1 and bool(self._batch.messages)
        if not follows or not self._batch.take(record.new):
            await self._flush()
            self._batch_parent = parent
            self._batch.take(record.new)
        if record.feedback is not None or record.redacted:
            self._marks.append(_Mark(here, record.feedback, redacted=record.redacted))

    async def _flush(self) -> None:
        """Append the batch, then the marks of all messages that are stored by now."""
        batch, self._batch = self._batch, Batch()
        if not batch.messages:
            return
        marks, self._marks = self._marks, []
        if not self._dry_run:
            await self._store_batch(batch.messages)
        self.added += len(batch.messages)
        await self._write_marks(marks)

    async def _store_batch(self, messages: Sequence[NewMessage]) -> None:
        if not self._arrival_noted:
            await retried(lambda: mark_arrival(self._store, self._scope, self.session_id, self._clock()))
            self._arrival_noted = True
        last = self._stored_last + self.added
        times = [message.created_at for message in messages if message.created_at is not None]
        done = await retried(
            lambda: self._store.append(
                self._scope,
                self.session_id,
                messages,
                idempotency_key=f"import/{last + 1}",
                digest=digest_of_messages(messages, parent_seq=self._batch_parent),
                expected_last_seq=last,
                parent_seq=self._batch_parent,
                active_at=self._record.modified_at or max(times, default=None),
                idle_ttl=self._idle_ttl,
                title=_title(messages) if self._record.title is None else None,
                incarnation=None if self._session is None else self._session.incarnation,
            )
        )
        self._session = done.session

    async def _write_marks(self, marks: Sequence[_Mark]) -> None:
        for mark in marks:
            self._changed = True
            if self._dry_run:
                continue
            if mark.redacted:  # first, since it takes the feedback away
                await retried(partial(self._store.redact, self._scope, self.session_id, mark.seq))
            if mark.feedback is not None:
                await retried(partial(self._store.annotate, self._scope, self.session_id, mark.seq, mark.feedback))

    async def _complete(self) -> None:
        if not self._opened:
            await self._open(None)
        await self._flush()
        if self._here < self._stored_last:
            return  # the session went on here; what was done to it since stands
        marks, self._marks = self._marks, []
        await self._write_marks(marks)
        await self._select_head()

    async def _select_head(self) -> None:
        """Select the head of the export, unless another one was selected here since."""
        session = self._session
        head = None if self._record.head_seq is None else self._seqs.get(self._record.head_seq)
        if session is None or head is None or head == session.head_seq or 0 < head < session.first_seq:
            return
        if self.added == 0 and session.head_seq != session.last_seq:
            return
        self._changed = True
        if not self._dry_run:
            last = session.last_seq
            await retried(lambda: self._store.select_head(self._scope, self.session_id, head, expected_last_seq=last))


def _is_same(record: MessageRecord, entry: Message) -> bool:
    """Return whether the stored message is the record; what was redacted here since is, and stays redacted."""
    new = record.new
    if (new.role, new.status) != (entry.role, entry.status):
        return False
    if new.created_at is not None and to_us(new.created_at) != entry.created_at_us:
        return False
    return entry.redacted or content_text(new.content) == content_text(entry.content)


def _title(messages: Sequence[NewMessage]) -> str | None:
    """Return the title that the first user message gives."""
    for message in messages:
        if message.role == "user":
            return auto_title(" ".join(part.text for part in message.content.parts if isinstance(part, Text)))
    return None
