"""Export and import of whole conversations."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

from chatkeep.domain.errors import NotFound
from chatkeep.domain.ids import check_id, derived_id
from chatkeep.domain.messages import Message, Unreadable
from chatkeep.domain.pages import SessionFilter, SessionPosition
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import Store
from chatkeep.services.importing import ImportItem, SessionImport
from chatkeep.services.jsonl import Fault, MessageRecord, SessionRecord, message_line, parse_line, session_line
from chatkeep.services.markdown import entry_text, head_text
from chatkeep.services.retrying import retried

MAX_ITEMS = 1_000
TELL_EVERY_LINES = 500
MAX_LIST_PASSES = 3
"""The list is gone through again for sessions that moved behind its back, at most so often."""

_LISTED = 200
_READ = 100


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do. Sessions are counted by outcome, `messages` those that were added.

    `invalid` counts sessions of which a line could not be used, and unusable lines outside of any session. `items`
    holds the first MAX_ITEMS outcomes in the order of the input.
    """

    dry_run: bool
    lines: int = 0
    created: int = 0
    continued: int = 0
    unchanged: int = 0
    conflict: int = 0
    invalid: int = 0
    messages: int = 0
    items: tuple[ImportItem, ...] = ()

    @property
    def sessions(self) -> int:
        """How many outcomes there were, all in all."""
        return self.created + self.continued + self.unchanged + self.conflict + self.invalid

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.created or self.continued or self.messages)


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import is. `item`: the session that has just been finished, if this tells of one."""

    lines: int
    messages: int
    item: ImportItem | None


class TransferService:
    """Writes sessions as lines and reads them back; the lines are described in docs/reference/jsonl.md."""

    def __init__(self, store: Store, clock: Clock, *, idle_ttl: Callable[[Scope], timedelta | None]) -> None:
        self._store = store
        self._clock = clock
        self._idle_ttl = idle_ttl

    async def export(self, scope: Scope, session_ids: Sequence[str] | None = None) -> AsyncGenerator[str, None]:
        """Yield the lines, without line ends, of the named sessions, or of all listed ones, archived ones included.

        A session is written as it was when its first line was; all branches, without what was pruned. What is in the
        trash is left out. Raises NotFound for a named session that is not there.
        """
        if session_ids is None:
            async for listed in self._all_ids(scope):
                async for line in self._lines(scope, listed):
                    yield line
            return
        for session_id in session_ids:
            found = False
            async for line in self._lines(scope, session_id):
                found = True
                yield line
            if not found:
                raise NotFound("session", session_id)

    async def export_markdown(self, scope: Scope, session_id: str) -> AsyncIterator[str]:
        """Yield pieces of a Markdown document of the active path. Raises NotFound."""
        session = await self._find(scope, session_id)
        if session is None:
            raise NotFound("session", session_id)
        yield head_text(session)
        async for entry in self._entries(scope, session, "active"):
            yield entry_text(entry)

    async def import_lines(
        self,
        scope: Scope,
        lines: Iterable[str] | AsyncIterable[str],
        *,
        session_id: str | None = None,
        dry_run: bool = False,
        progress: Callable[[ImportProgress], None] | None = None,
    ) -> ImportReport:
        """Bring in what an export, or a conversation file of one message a line, holds, and report on every session.

        Repeatable: what is stored is compared and left alone, what is missing behind it is appended, and a session that
        differs is a conflict of which nothing changes. Settings, feedback and redactions of a stored session are never
        replaced. A line that cannot be used ends its session there; the others go on.

        `session_id` names the session of messages without one; None derives it from the first line. `progress` is
        called after every session and every TELL_EVERY_LINES lines. Temporary errors of the store are raised after some
        retries; the same import then goes on where it stopped.
        """
        if session_id is not None:
            check_id(session_id, "session_id")
        reader = _Reader(self._store, scope, self._clock, self._idle_ttl(scope), session_id, dry_run, progress)
        async for line in _each(lines):
            await reader.read(line)
        return await reader.end()

    async def _all_ids(self, scope: Scope) -> AsyncIterator[str]:
        """Yield every listed session once; one that is written to meanwhile moves in the list and is found later."""
        where = SessionFilter(include_archived=True)
        seen: set[str] = set()
        for _ in range(MAX_LIST_PASSES):
            before = len(seen)
            after: SessionPosition | None = None
            while True:
                page = await retried(partial(self._store.list_sessions, scope, where, limit=_LISTED, after=after))
                for session in page.items:
                    if session.id not in seen:
                        seen.add(session.id)
                        yield session.id
                if page.next is None:
                    break
                after = page.next
            if len(seen) == before:
                return

    async def _lines(self, scope: Scope, session_id: str) -> AsyncIterator[str]:
        session = await self._find(scope, session_id)
        if session is None:
            return
        yield session_line(session)
        async for entry in self._entries(scope, session, "all"):
            yield message_line(session, entry)

    async def _find(self, scope: Scope, session_id: str) -> Session | None:
        return await retried(lambda: self._store.find_session(scope, session_id))

    async def _entries(
        self, scope: Scope, session: Session, path: Literal["active", "all"]
    ) -> AsyncIterator[Message | Unreadable]:
        """Yield the messages that the session had when `session` was read, ascending, but for those pruned since."""
        after, end = 0, session.last_seq + 1
        while True:
            try:
                read = await retried(
                    partial(
                        self._store.read, scope, session.id, after_seq=after, before_seq=end, limit=_READ, path=path
                    )
                )
            except NotFound:  # purged meanwhile: nothing more of it may be shown
                return
            for entry in read:
                yield entry
            if len(read) < _READ:
                return
            after = read[-1].seq


async def _each(lines: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(lines, AsyncIterable):
        async for line in lines:
            yield line
    else:
        for line in lines:
            yield line


class _Reader:
    """Gives every line to the session it belongs to, one session at a time."""

    def __init__(
        self,
        store: Store,
        scope: Scope,
        clock: Clock,
        idle_ttl: timedelta | None,
        session_id: str | None,
        dry_run: bool,  # noqa: FBT001 -- one caller, above
        progress: Callable[[ImportProgress], None] | None,
    ) -> None:
        self._begin_import = partial(SessionImport, store, scope, clock=clock, idle_ttl=idle_ttl, dry_run=dry_run)
        self._session_id = session_id
        self._dry_run = dry_run
        self._progress = progress
        self._lines = 0
        self._messages = 0
        self._counts: Counter[str] = Counter()
        self._items: list[ImportItem] = []
        self._current: SessionImport | None = None
        self._skipping = False
        self._begun: set[str] = set()

    async def read(self, line: str) -> None:
        """Take the next line of the input."""
        self._lines += 1
        record = parse_line(line)
        if isinstance(record, SessionRecord):
            await self._begin(record)
        elif isinstance(record, Fault):
            await self._fault(record)
        elif record is not None and not self._skipping:
            await self._message(record, line)
        if self._lines % TELL_EVERY_LINES == 0:
            self._tell(None)

    async def end(self) -> ImportReport:
        """Finish the last session and report."""
        await self._finish()
        return ImportReport(
            dry_run=self._dry_run,
            lines=self._lines,
            messages=self._messages,
            items=tuple(self._items),
            **self._counts,
        )

    async def _begin(self, record: SessionRecord) -> SessionImport:
        await self._finish()
        self._skipping = False
        self._begun.add(record.id)
        self._current = self._begin_import(record)
        return self._current

    async def _finish(self) -> None:
        if self._current is not None:
            current, self._current = self._current, None
            self._note(await current.finish())

    async def _fault(self, fault: Fault) -> None:
        """A line that was to begin a session takes its messages with it; any other one ends the session it is in."""
        reason = f"line {self._lines}: {fault.reason}"
        if fault.begins_session:
            await self._finish()
            self._skipping = True
        elif self._current is not None:
            await self._current.stop(reason)
            return
        elif self._skipping:
            return
        self._note(ImportItem(fault.session_id, "invalid", 0, reason))

    async def _message(self, record: MessageRecord, line: str) -> None:
        session = self._current
        if session is None or record.session_id not in (None, session.session_id):
            wanted = record.session_id or self._session_id or derived_id("import", line.strip())
            apart = wanted in self._begun
            session = await self._begin(SessionRecord(wanted))
            if not record.plain:
                await session.stop(f"line {self._lines}: the message does not stand below the line of its session")
            elif apart:
                await session.stop(f"line {self._lines}: the messages of a session must stand together")
        await session.add(record)

    def _note(self, item: ImportItem) -> None:
        self._counts[item.outcome] += 1
        self._messages += item.messages_added
        if len(self._items) < MAX_ITEMS:
            self._items.append(item)
        self._tell(item)

    def _tell(self, item: ImportItem | None) -> None:
        if self._progress is not None:
            under_way = 0 if self._current is None else self._current.added
            self._progress(ImportProgress(self._lines, self._messages + under_way, item))
