"""A user's own messages, across sessions."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

from chatkeep.domain.errors import NotFound
from chatkeep.domain.limits import MAX_LIST, check_limit
from chatkeep.domain.messages import Message, Role, Unreadable
from chatkeep.domain.pages import Page, SessionFilter, SessionPosition
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, SessionState
from chatkeep.ports.store import Store

MAX_EXAMINED_MESSAGES = 5_000
"""A page that filters by role looks at no more; it may then be short, even empty, and yet have a `next`."""

_STATES: tuple[SessionState, ...] = ("pinned", "active", "unpinned", "archived")
_LISTED = 50
_FIRST_READ = 20
_LARGEST_READ = 500


@dataclass(frozen=True, slots=True)
class MinePosition:
    """The place of a message: newest first by `at_us`, then session id descending, then seq descending."""

    at_us: int
    session_id: str
    seq: int


class _Place(NamedTuple):
    at_us: int
    session_id: str
    seq: int


class MineService:
    """Merges the sessions' active paths lazily; needs nothing of an engine but lists and reads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def messages(
        self, scope: Scope, *, limit: int = 50, after: MinePosition | None = None, role: Role | None = None
    ) -> Page[tuple[Session, Message], MinePosition]:
        """Return up to `limit` (1–200) messages of the active paths of all listed sessions, archived ones included,
        the newest first, and where to go on; `role` None: of every role.

        A message counts as written at its `created_at`, but never later than the message behind it on the path or than
        its session was last active, so that imports with odd times have an order too. A message of a session that was
        not written to meanwhile is on exactly one page. Unreadable rows are left out.

        A page lists the sessions that were active since its oldest message, and reads them from their newest message
        down to there: the first pages are cheap, and the cost of a page grows with its depth. Held at a time: some
        hundred messages a session at most, usually 20.
        """
        check_limit(limit, MAX_LIST)
        behind = None if after is None else _Place(after.at_us, after.session_id, after.seq)
        merge = _Merge(self._store, scope, behind)
        found: list[tuple[Session, Message]] = []
        last: MinePosition | None = None
        examined = 0
        async for place, session, message in merge.walk():
            if len(found) == limit or examined == MAX_EXAMINED_MESSAGES:
                return Page(tuple(found), last)
            examined += 1
            last = MinePosition(*place)
            if role is None or message.role == role:
                found.append((session, message))
        return Page(tuple(found), None)


class _Merge:
    """One page's merge: sessions are opened in order of activity, only once the newest open message is older."""

    def __init__(self, store: Store, scope: Scope, behind: _Place | None) -> None:
        self._store = store
        self._scope = scope
        self._behind = behind

    async def walk(self) -> AsyncIterator[tuple[_Place, Session, Message]]:
        """Yield everything behind the position, in order."""
        unopened = self._sessions()
        upcoming = await anext(unopened, None)
        heads: list[tuple[tuple[int, ...], int, _Path]] = []
        opened = 0
        while heads or upcoming is not None:
            if upcoming is not None and (not heads or _latest_us(upcoming) >= heads[0][2].place.at_us):
                path = _Path(self._store, self._scope, upcoming, self._behind)
                opened += 1
                if await path.advance():
                    heapq.heappush(heads, (path.rank, opened, path))
                upcoming = await anext(unopened, None)
                continue
            _, order, path = heads[0]
            yield path.place, path.session, path.message
            if await path.advance():
                heapq.heapreplace(heads, (path.rank, order, path))
            else:
                heapq.heappop(heads)

    async def _sessions(self) -> AsyncIterator[Session]:
        """Yield the sessions in order of activity, each once."""
        streams = [self._stream(state) for state in _STATES]
        heads = [await anext(stream, None) for stream in streams]
        seen: set[str] = set()
        while True:
            waiting = [(head.modified_at_ms, at, head) for at, head in enumerate(heads) if head is not None]
            if not waiting:
                return
            _, at, newest = max(waiting)
            heads[at] = await anext(streams[at], None)
            if newest.id not in seen:
                seen.add(newest.id)
                yield newest

    async def _stream(self, state: SessionState) -> AsyncIterator[Session]:
        after: SessionPosition | None = None
        while True:
            page = await self._store.list_sessions(self._scope, SessionFilter(state=state), limit=_LISTED, after=after)
            for session in page.items:
                yield session
            if page.next is None:
                return
            after = page.next


def _latest_us(session: Session) -> int:
    """Return the latest moment at which a message of the session can count as written."""
    return session.modified_at_ms * 1_000 + 999


class _Path:
    """The active path of one session from its newest message on, read piece by piece."""

    def __init__(self, store: Store, scope: Scope, session: Session, behind: _Place | None) -> None:
        self.session = session
        self._store = store
        self._scope = scope
        self._behind = behind
        self._at_us = _latest_us(session)
        self._buffer: list[Message | Unreadable] = []
        self._before: int | None = None
        self._ended = False
        self._size = _FIRST_READ
        self.message: Message

    @property
    def place(self) -> _Place:
        return _Place(self._at_us, self.session.id, self.message.seq)

    @property
    def rank(self) -> tuple[int, ...]:
        """Sorts as the reverse of the place; UTF-8 order of ids is that of their code points."""
        return (-self._at_us, *(-ord(char) for char in self.session.id), 1)

    async def advance(self) -> bool:
        """Go to the next message behind the position; return False at the end."""
        while True:
            if not self._buffer and not await self._read():
                return False
            entry = self._buffer.pop()
            if isinstance(entry, Unreadable):
                continue
            self.message = entry
            self._at_us = min(self._at_us, entry.created_at_us)
            if self._behind is None or self.place < self._behind:
                self._size = _FIRST_READ
                return True

    async def _read(self) -> bool:
        if self._ended:
            return False
        try:
            read = await self._store.read(
                self._scope, self.session.id, before_seq=self._before, limit=self._size, newest_first=True
            )
        except NotFound:
            read = ()
        self._ended = len(read) < self._size
        self._size = min(2 * self._size, _LARGEST_READ)
        if read:
            self._before = read[-1].seq
        self._buffer = list(reversed(read))
        return bool(read)
