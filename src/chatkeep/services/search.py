"""Finding one's own messages and titles by the words in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from chatkeep.domain.errors import Invalid, NotFound
from chatkeep.domain.limits import check_limit
from chatkeep.domain.messages import Message
from chatkeep.domain.pages import Hit, HitPosition, Page, SessionFilter
from chatkeep.domain.scope import Scope
from chatkeep.domain.search import MAX_WORDS, matches, snippet, words
from chatkeep.domain.sessions import Session
from chatkeep.ports.store import SearchIndex, Store

MAX_HITS = 100
SCAN_SESSIONS = 200
"""Without an index: titles of so many sessions are searched, the pinned ones and then the newest."""
SCAN_MESSAGES = 2_000
"""Without an index: so many messages are searched, session by session in that order, the newest of each first."""

_READ = 100


class _Found(NamedTuple):
    """A hit before its snippet is cut; compared by its place first, which is unique."""

    at_us: int
    session_id: str
    seq: int
    session: Session
    text: str

    @property
    def position(self) -> HitPosition:
        return HitPosition(self.at_us, self.session_id, self.seq)


class SearchService:
    """Searches through the engine's index where it has one, and through the newest messages otherwise."""

    def __init__(self, store: Store, index: SearchIndex | None = None) -> None:
        self._store = store
        self._index = index

    async def search(
        self, scope: Scope, query: str, *, limit: int = 20, after: HitPosition | None = None
    ) -> Page[Hit, HitPosition]:
        """Return up to `limit` (1–100) hits in the caller's sessions, archived ones included, newest first.

        A message or a title is found when it holds all words of `query`, the last one as a prefix, whatever their case
        and diacritics. All branches are searched; what was trashed, redacted, cleared or pruned is not. Without an
        index only SCAN_SESSIONS titles and SCAN_MESSAGES messages are looked at, and a page reads all of them.
        Raises Invalid for a query without a word or with more than 16.
        """
        check_limit(limit, MAX_HITS)
        wanted = words(query)
        if not 1 <= len(wanted) <= MAX_WORDS:
            raise Invalid(f"a search needs 1 to {MAX_WORDS} words, not {len(wanted)}", field="q")
        if self._index is not None:
            return await self._index.search(scope, wanted, limit=limit, after=after)
        return await self._scan(scope, wanted, limit=limit, after=after)

    async def _scan(
        self, scope: Scope, wanted: Sequence[str], *, limit: int, after: HitPosition | None
    ) -> Page[Hit, HitPosition]:
        behind = None if after is None else (after.at_us, after.session_id, after.seq)
        best: list[_Found] = []
        async for found in self._candidates(scope):
            if behind is not None and found[:3] >= behind:
                continue
            if matches(words(found.text), wanted):
                best.append(found)
                best.sort(key=lambda each: each[:3], reverse=True)
                del best[limit + 1 :]
        hits = [
            Hit(found.session, found.seq or None, *snippet(found.text, wanted), found.at_us) for found in best[:limit]
        ]
        return Page(tuple(hits), best[limit - 1].position if len(best) > limit else None)

    async def _candidates(self, scope: Scope) -> AsyncIterator[_Found]:
        """Yield titles and messages within the bounds of a scan."""
        where = SessionFilter(include_archived=True)
        listed = await self._store.list_sessions(scope, where, limit=SCAN_SESSIONS)
        for session in listed.items:
            yield _Found(session.modified_at_ms * 1_000, session.id, 0, session, session.title)
        left = SCAN_MESSAGES
        for session in listed.items:
            before: int | None = None
            while left > 0:
                try:
                    read = await self._store.read(
                        scope, session.id, before_seq=before, limit=min(_READ, left), newest_first=True, path="all"
                    )
                except NotFound:
                    break
                for entry in read:
                    if isinstance(entry, Message):
                        yield _Found(entry.created_at_us, session.id, entry.seq, session, entry.text)
                left -= len(read)
                if len(read) < min(_READ, left + len(read)):
                    break
                before = read[-1].seq
