"""Copies: everything of one store into another, whatever their engines.

A session is copied message by message, with its numbers, branches, ids, times, feedback and redactions, and with what
is kept beside it; then both are read and compared. What was copied carries a mark in the target, so that a copy that
was stopped goes on, and another one brings the target up to date while the source is written to: it appends what is
new, applies what has changed, and removes what the source has purged. A session of the target without that mark is
never touched.

Runs are not copied: they belong to the processes that work on them. Nor is what lies in the trash, which no call reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Literal

from chatkeep.domain.errors import Closed, NotFound, RevisionConflict, SeqConflict
from chatkeep.domain.limits import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from chatkeep.domain.messages import Content, Message, NewMessage, Unreadable
from chatkeep.domain.pages import SessionFilter, SessionPosition
from chatkeep.domain.paths import parent_of
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession, Session, SessionPatch, SettableState
from chatkeep.ports.store import Maintenance, Store
from chatkeep.services.comparing import MARK, entries, facts, fingerprint
from chatkeep.services.digests import digest_of_messages
from chatkeep.services.retrying import retried

MAX_ITEMS = 1_000

CopyOutcome = Literal["copied", "continued", "unchanged", "removed", "conflict", "different", "unreadable"]

_LISTED = 200
_SCOPES = 100
_ATTEMPTS = 3
"""A session that is written to while it is compared is brought up to date again, at most so often in one pass."""


@dataclass(frozen=True, slots=True)
class CopyItem:
    """What became of one session."""

    scope: Scope
    session_id: str
    outcome: CopyOutcome
    messages: int = 0


@dataclass(slots=True)
class CopyReport:
    """What a copy did. `sessions` counts by outcome; `items` names the first MAX_ITEMS that are not as in the source.

    `conflict`: the target has a session of that id that no copy has made, and that differs; it was left alone.
    `different`: the source changed while it was compared: copy again. `unreadable`: copied, but for messages that
    cannot be read; they are redacted in the target.
    """

    sessions: Counter[CopyOutcome] = field(default_factory=Counter)
    scopes: int = 0
    messages: int = 0
    verified_messages: int = 0
    items: list[CopyItem] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether the target has all that the source has."""
        return not (self.sessions["conflict"] or self.sessions["different"] or self.sessions["unreadable"])

    def add(self, item: CopyItem) -> None:
        """Count a session."""
        self.sessions[item.outcome] += 1
        self.messages += item.messages
        if item.outcome in ("conflict", "different", "unreadable") and len(self.items) < MAX_ITEMS:
            self.items.append(item)


class CopyService:
    """Copies from one store into another."""

    def __init__(self, source: Store, maintenance: Maintenance, target: Store) -> None:
        self._source = source
        self._maintenance = maintenance
        self._target = target

    async def copy(self, *, progress: Callable[[CopyReport], None] | None = None) -> CopyReport:
        """Copy all scopes and report. Repeatable: a pass after the last write to the source ends with both alike.

        `progress` is called after every session. Temporary errors are raised after some retries; a repeat goes on.
        """
        report = CopyReport()
        after: Scope | None = None
        while scopes := await retried(partial(self._maintenance.iter_scopes, after=after, limit=_SCOPES)):
            for scope in scopes:
                report.scopes += 1
                async for item in self._scope(scope, report):
                    report.add(item)
                    if progress is not None:
                        progress(report)
            after = scopes[-1]
        return report

    async def _scope(self, scope: Scope, report: CopyReport) -> AsyncIterator[CopyItem]:
        seen: set[str] = set()
        async for session in _listed(self._source, scope):
            seen.add(session.id)
            yield await self._session(scope, session.id, report)
        async for copied in _listed(self._target, scope):
            if copied.id in seen or await self._mark(scope, copied.id) is None:
                continue
            if await retried(partial(self._source.find_session, scope, copied.id, include_trashed=True)) is None:
                await retried(partial(self._purge, scope, copied.id, copied.incarnation))
                yield CopyItem(scope, copied.id, "removed")

    async def _purge(self, scope: Scope, session_id: str, incarnation: str) -> None:
        try:
            await self._target.purge_session(scope, session_id, incarnation=incarnation)
        except NotFound:  # by an earlier attempt
            return

    async def _mark(self, scope: Scope, session_id: str) -> str | None:
        """Return the incarnation of the source of a copied session; None for one that no copy has made."""
        try:
            state = await retried(partial(self._target.get_state, scope, session_id, MARK))
        except NotFound:
            return None
        return None if state is None else state.value.decode()

    async def _session(self, scope: Scope, session_id: str, report: CopyReport) -> CopyItem:
        """Bring one session up to date, and compare."""
        added, unreadable, began = 0, 0, False
        for attempt in range(_ATTEMPTS):
            source = await retried(partial(self._source.find_session, scope, session_id))
            if source is None:  # purged or trashed meanwhile
                return CopyItem(scope, session_id, "unchanged")
            target = await retried(partial(self._target.find_session, scope, session_id, include_trashed=True))
            mark: str | None = None
            if target is not None:
                mark = None if target.state == "trashed" else await self._mark(scope, session_id)
                if mark is None and not (target.hidden and target.last_seq == 0):
                    same = target.state != "trashed" and await self._are_alike(scope, source, target, report)
                    return CopyItem(scope, session_id, "unchanged" if same else "conflict")
                if mark not in (None, source.incarnation) or target.first_seq > source.first_seq:
                    await retried(partial(self._purge, scope, session_id, target.incarnation))
                    target = None
            try:
                if target is None or mark is None:
                    began = True
                    target = await self._begun(scope, source)
                elif await self._are_alike(scope, source, target, report):
                    outcome: CopyOutcome = "unchanged" if not attempt else "copied" if began else "continued"
                    return CopyItem(scope, session_id, "unreadable" if unreadable else outcome, added)
                messages, broken = await self._brought_up(scope, source, target)
            except (NotFound, Closed, SeqConflict, RevisionConflict):  # one of them has changed meanwhile
                continue
            added += messages
            unreadable = broken
        source = await retried(partial(self._source.find_session, scope, session_id))
        target = await retried(partial(self._target.find_session, scope, session_id))
        alike = source is not None and target is not None and await self._are_alike(scope, source, target, report)
        if unreadable:
            return CopyItem(scope, session_id, "unreadable", added)
        return CopyItem(scope, session_id, ("copied" if began else "continued") if alike else "different", added)

    async def _begun(self, scope: Scope, source: Session) -> Session:
        """Create the copy, which no list shows before it is complete."""
        new = NewSession(
            title=source.title,
            title_source=source.title_source,
            state=_settable(source),
            metadata=source.metadata,
            created_at=source.created_at,
            idle_ttl=_idle_ttl(source),
            hidden=HIDDEN_UNTIL_REVEAL,
        )
        session, _ = await retried(partial(self._target.ensure_session, scope, source.id, new))
        await self._put_state(scope, source.id, MARK, source.incarnation.encode())
        return session

    async def _brought_up(self, scope: Scope, source: Session, target: Session) -> tuple[int, int]:
        """Append what is new, apply what has changed; return how many messages were added, and cannot be read."""
        unreadable = 0
        before = target.last_seq
        async for batch, parent in self._batches(scope, source, target.last_seq):
            key = f"copy/{source.incarnation}/{target.last_seq + 1}"
            append = partial(
                self._target.append,
                scope,
                source.id,
                batch,
                idempotency_key=key,
                digest=digest_of_messages(batch, parent_seq=parent),
                parent_seq=parent,
                active_at=source.modified_at,
                idle_ttl=_idle_ttl(source),
                expected_last_seq=target.last_seq,
            )
            target = (await retried(append)).session
        async with aclosing(entries(self._target, scope, target)) as copies:
            copy: Message | Unreadable | None = None
            async for entry in entries(self._source, scope, source):
                unreadable += isinstance(entry, Unreadable)
                while copy is None or copy.seq < entry.seq:
                    copy = await anext(copies, None)
                    if copy is None:
                        raise NotFound("message", entry.seq)
                await self._same_overlay(scope, source.id, entry, copy)
        if target.head_seq != source.head_seq:
            await retried(partial(self._target.select_head, scope, source.id, source.head_seq))
        if target.first_seq < source.first_seq:
            await retried(partial(self._target.prune, scope, source.id, before_seq=source.first_seq))
        for key in await retried(partial(self._source.state_keys, scope, source.id)):
            if key == MARK:  # the source is a copy itself
                continue
            state = await retried(partial(self._source.get_state, scope, source.id, key))
            if state is not None:
                await self._put_state(scope, source.id, key, state.value)
        await self._same_settings(scope, source)
        return target.last_seq - before, unreadable

    async def _batches(
        self, scope: Scope, source: Session, after_seq: int
    ) -> AsyncIterator[tuple[list[NewMessage], int | None]]:
        """Yield the messages behind `after_seq` as they can be appended at once, and the parent of the first."""
        jumps = source.jumps
        batch: list[NewMessage] = []
        parent: int | None = None
        size = 0
        async for seq, message, weight in self._messages(scope, source, after_seq):
            follows = parent_of(seq, jumps) == seq - 1
            if batch and (not follows or len(batch) == MAX_BATCH_MESSAGES or size + weight > MAX_BATCH_BYTES):
                yield batch, parent
                batch, size = [], 0
            if not batch:
                parent = parent_of(seq, jumps)
            batch.append(message)
            size += weight
        if batch:
            yield batch, parent

    async def _messages(
        self, scope: Scope, source: Session, after_seq: int
    ) -> AsyncIterator[tuple[int, NewMessage, int]]:
        """Yield seq, message and bytes of all behind `after_seq`; empty ones for what is pruned or unreadable."""
        for seq in range(after_seq + 1, source.first_seq):
            yield seq, NewMessage("user", Content()), 0
        async for entry in entries(self._source, scope, source, after_seq=after_seq):
            if isinstance(entry, Unreadable):
                yield entry.seq, NewMessage("user", Content()), 0
                continue
            content = Content() if entry.blanked else entry.content
            message = NewMessage(entry.role, content, entry.status, entry.created_at, entry.uid)
            yield entry.seq, message, len(entry.body)

    async def _same_overlay(
        self, scope: Scope, session_id: str, entry: Message | Unreadable, copy: Message | Unreadable
    ) -> None:
        """Redact and annotate a message of the target as it is in the source."""
        blanked = isinstance(entry, Unreadable) or bool(entry.blanked)
        feedback = None if isinstance(entry, Unreadable) else entry.feedback
        if isinstance(copy, Unreadable) or (blanked and not copy.blanked):
            copy = await retried(partial(self._target.redact, scope, session_id, entry.seq))
        if feedback != copy.feedback:
            await retried(partial(self._target.annotate, scope, session_id, entry.seq, feedback))

    async def _put_state(self, scope: Scope, session_id: str, key: str, value: bytes) -> None:
        for _ in range(_ATTEMPTS):
            stored = await retried(partial(self._target.get_state, scope, session_id, key))
            if stored is not None and stored.value == value:
                return
            try:
                await self._target.put_state(
                    scope, session_id, key, value, expected_version=0 if stored is None else stored.version
                )
            except RevisionConflict:  # a repeat found its own write
                continue
            return

    async def _same_settings(self, scope: Scope, source: Session) -> None:
        target = await retried(partial(self._target.find_session, scope, source.id))
        if target is None:
            raise NotFound("session", source.id)
        patch = SessionPatch(
            title=source.title if source.title != target.title else None,
            title_source="user" if target.title_source == "user" else source.title_source,
            state=_settable(source) if source.state != target.state else None,
            metadata=source.metadata if source.metadata_json != target.metadata_json else None,
            reveal=bool(target.hidden),
            set_idle_ttl=source.idle_ttl_ms != target.idle_ttl_ms,
            idle_ttl=_idle_ttl(source),
        )
        if patch != SessionPatch(title_source=patch.title_source):
            await retried(partial(self._target.update_session, scope, source.id, patch))

    async def _are_alike(self, scope: Scope, source: Session, target: Session, report: CopyReport) -> bool:
        """Return whether both sessions are the same for every reader, as they are now."""
        if facts(source) != facts(target):
            return False
        ours, count = await fingerprint(self._source, scope, source)
        theirs, _ = await fingerprint(self._target, scope, target)
        again = await retried(partial(self._source.find_session, scope, source.id))
        if ours != theirs or again is None or facts(again) != facts(source):
            return False
        report.verified_messages += count
        return True


def _settable(session: Session) -> SettableState:
    return "active" if session.state == "trashed" else session.state


def _idle_ttl(session: Session) -> timedelta | None:
    return None if session.idle_ttl_ms is None else timedelta(milliseconds=session.idle_ttl_ms)


async def _listed(store: Store, scope: Scope) -> AsyncIterator[Session]:
    """Yield the listed sessions once each, archived ones included. One that moves up meanwhile is found by the next
    copy.
    """
    where = SessionFilter(include_archived=True)
    after: SessionPosition | None = None
    seen: set[str] = set()
    while True:
        page = await retried(partial(store.list_sessions, scope, where, limit=_LISTED, after=after))
        for session in page.items:
            if session.id not in seen:
                seen.add(session.id)
                yield session
        if page.next is None:
            return
        after = page.next
