"""Full-text search: what the index holds, and how it is asked.

A message or title enters the index a little after its own commit: a search first brings in what its scope still lacks,
so that it finds everything, and maintenance brings in the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chatkeep.domain.errors import Invalid
from chatkeep.domain.limits import check_limit
from chatkeep.domain.pages import Hit, HitPosition, Page
from chatkeep.domain.scope import Scope
from chatkeep.domain.search import MAX_WORDS, matches, snippet, words as words_of
from chatkeep.domain.sessions import to_ms
from chatkeep.stores.codec import decode, fault
from chatkeep.stores.postgres.engine import Connection, Engine, Row
from chatkeep.stores.postgres.records import scope_names, session_of
from chatkeep.stores.postgres.texts import stored as as_stored, told

MAX_HITS = 100
STEP_SESSIONS = 64
STEP_MESSAGES = 500
_LAST_US = 2**62
_TITLE = 0
_MARK = "§"
_MOST_CHARS = 300
"""A word is indexed by its beginning; the text itself decides."""
_MOST_BYTES = 500_000
"""A text of more words than that is looked at for every question: the server's sets of words are bounded."""


def _text(body: bytes) -> str:
    """Return the text parts of a stored body; nothing for one that cannot be read."""
    return decode.text(body) if fault(body) is None else ""


def _term(scope: int, word: str) -> str:
    return f"{scope}{_MARK}{word[:_MOST_CHARS]}"


def _terms(scope: int, text: str) -> list[str]:
    """Return what the index is given for a text."""
    found = sorted({_term(scope, word) for word in words_of(text)})
    return found if sum(len(one.encode()) for one in found) <= _MOST_BYTES else [_term(scope, "")]


def _question(scope: int, words: Sequence[str]) -> str:
    """Return the tsquery of all words, the last one as a prefix; words hold letters and digits only."""
    terms = [f"'{_term(scope, word)}'" for word in words]
    return f"({' & '.join(terms)}:*) | '{_term(scope, '')}'"


class PostgresSearch(Engine):
    """Full-text search, beside the log."""

    async def search(
        self, scope: Scope, words: Sequence[str], *, limit: int, after: HitPosition | None = None
    ) -> Page[Hit, HitPosition]:
        check_limit(limit, MAX_HITS)
        if not 1 <= len(words) <= MAX_WORDS or any(words_of(word) != [word] for word in words):
            raise Invalid(f"a search takes 1 to {MAX_WORDS} words, as domain.search.words gives them", field="words")
        found = await self._read(lambda db: db.row("find_scope", *scope_names(scope)))
        if found is None:
            return Page((), None)
        owner: int = found[0]
        while due := await self._read(lambda db: db.rows("search_due", owner, STEP_SESSIONS)):
            for (key,) in due:
                while await self._write(partial(index_session, key=key, most=STEP_MESSAGES)):
                    pass
        return await self._page(owner, words, limit, after)

    async def _matching(
        self, owner: int, words: Sequence[str], behind: tuple[int, str, int], most: int, db: Connection
    ) -> list[Row]:
        return await db.rows("search", to_ms(self._clock()), _question(owner, words), owner, *behind, most)

    async def _page(
        self, owner: int, words: Sequence[str], limit: int, after: HitPosition | None
    ) -> Page[Hit, HitPosition]:
        """Return hits, each compared with the text itself: an entry whose row is unreadable by now is none."""
        behind = (_LAST_US, "", 0) if after is None else (after.at_us, as_stored(after.session_id), after.seq)
        hits: list[Hit] = []
        while True:
            rows = await self._read(partial(self._matching, owner, words, behind, limit + 1))
            for at_us, session_id, seq, body, *fields in map(tuple, rows):
                if len(hits) == limit:
                    last = hits[-1]
                    return Page(tuple(hits), HitPosition(last.at_us, last.session.id, last.seq or _TITLE))
                behind = (at_us, session_id, seq)
                session = session_of(fields)
                text = session.title if seq == _TITLE else _text(body or b"")
                if matches(words_of(text), words):
                    hits.append(Hit(session, seq or None, *snippet(text, words), at_us))
            if len(rows) <= limit:
                return Page(tuple(hits), None)


async def index_session(db: Connection, key: int, most: int) -> int:
    """Bring up to `most` messages of a session, and its title, into the index; return how many, 0 when none is due."""
    row = await db.row("lock_search_due", key)
    if row is None:
        return 0
    scope, title, title_due, first_seq, last_seq = row
    entries: list[tuple[int, list[str]]] = [(_TITLE, _terms(scope, told(title)))] if title_due else []
    bodies = await db.rows("bodies", key, first_seq, most)
    entries += [(seq, _terms(scope, _text(body))) for seq, body in bodies]
    for seq, terms in entries:
        if terms:
            await db.run("add_words", key, seq, terms)
        else:
            await db.run("remove_words", key, seq)
    await db.run("note_indexed", key, bodies[-1][0] if len(bodies) == most else last_seq)
    return max(len(entries), 1)
