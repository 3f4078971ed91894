"""Full-text search."""

from __future__ import annotations

from collections.abc import Sequence

from chatkeep.domain.errors import Invalid
from chatkeep.domain.limits import check_limit
from chatkeep.domain.pages import Hit, HitPosition, Page
from chatkeep.domain.scope import Scope
from chatkeep.domain.search import MAX_WORDS, matches, snippet, words as words_of
from chatkeep.domain.sessions import to_ms
from chatkeep.stores.sqlite.connection import Database
from chatkeep.stores.sqlite.engine import Engine
from chatkeep.stores.sqlite.indexing import body_text, index_scope, term
from chatkeep.stores.sqlite.records import scope_names, stored_of

MAX_HITS = 100
_LAST_US = 2**62
_NOTHING_BUT_TITLE = 0


def _expression(scope: int, words: Sequence[str]) -> str:
    """Return the FTS5 expression of all words, the last one as a prefix."""
    return " AND ".join(f'"{term(scope, word)}"' for word in words) + " *"


class SqliteSearch(Engine):
    """Full-text search, beside the log."""

    async def search(
        self, scope: Scope, words: Sequence[str], *, limit: int, after: HitPosition | None = None
    ) -> Page[Hit, HitPosition]:
        check_limit(limit, MAX_HITS)
        if not 1 <= len(words) <= MAX_WORDS or any(words_of(word) != [word] for word in words):
            raise Invalid(f"a search takes 1 to {MAX_WORDS} words, as domain.search.words gives them", field="words")
        found = await self._search(lambda db: db.row("find_scope", scope_names(scope)))
        if found is None:
            return Page((), None)
        owner: int = found[0]
        if await self._search(lambda db: db.rows("search_due_of_scope", (owner, 1))):
            while await self._write(lambda write: index_scope(write, owner)):
                pass
        return await self._search(lambda db: self._page(db, owner, words, limit, after))

    def _page(
        self, db: Database, scope: int, words: Sequence[str], limit: int, after: HitPosition | None
    ) -> Page[Hit, HitPosition]:
        """Return hits, each compared with the text itself: an entry whose row is unreadable by now is none."""
        behind = (_LAST_US, "", 0) if after is None else (after.at_us, after.session_id, after.seq)
        hits: list[Hit] = []
        while True:
            asked = (_expression(scope, words), scope, to_ms(self._clock()), *behind, limit + 1)
            rows = db.rows("search", asked)
            for at_us, session_id, seq, body, key in rows:
                if len(hits) == limit:
                    last = hits[-1]
                    return Page(tuple(hits), HitPosition(last.at_us, last.session.id, last.seq or _NOTHING_BUT_TITLE))
                behind = (at_us, session_id, seq)
                session_row = db.row("find_session_by_key", (key,))
                if session_row is None:
                    raise AssertionError("a hit joins its session")
                session = stored_of(session_row).session
                text = session.title if seq == _NOTHING_BUT_TITLE else body_text(body or b"")
                if matches(words_of(text), words):
                    hits.append(Hit(session, seq or None, *snippet(text, words), at_us))
            if len(rows) <= limit:
                return Page(tuple(hits), None)
