"""What the search index holds, and how it gets there and leaves.

A message or title enters the index a little after its own commit, in a pause of the writer; a search first brings in
what its scope still lacks, so that it finds everything. An entry is the set of words of its text, each behind the key
of the scope: one user's search then never touches the entries of another. To take an entry out, the same words must be
named again, and once only; that is why the version of `words` is noted in the file. A text without words has no entry.
"""

from __future__ import annotations

from chatkeep.domain.search import words
from chatkeep.stores.codec import decode, fault
from chatkeep.stores.sqlite.connection import Database, Row
from chatkeep.stores.sqlite.records import MAX_STORED_SEQ, Stored, message_key, stored_of
from chatkeep.stores.sqlite.transaction import Write

WORDS_VERSION = "1"
"""To be raised when `domain.search.words` changes: files are then indexed anew when they are opened."""

STALE = "stale"
"""Noted in the place of the version when the index holds words that nobody can name."""

STEP_MESSAGES = 64
_MARK = "§"


def body_text(body: bytes) -> str:
    """Return the text parts of a stored body; nothing for one that cannot be read."""
    return decode.text(body) if fault(body) is None else ""


def term(scope: int, word: str) -> str:
    """Return the word as the index knows it: `§` is in no word, and joins for its tokenizer."""
    return f"{scope}{_MARK}{word}"


def entry(scope: int, text: str) -> str:
    """Return what the index is given for a text."""
    found = sorted(set(words(text)))
    return term(scope, f" {term(scope, '')}".join(found)) if found else ""


def index_some(write: Write) -> int:
    """Bring a bounded piece of what waits, of any scope, into the index; return its size, 0 when nothing waits."""
    return _index(write.db, write.db.rows("some_search_due", (STEP_MESSAGES,)), STEP_MESSAGES)


def index_scope(write: Write, scope: int) -> int:
    """The same for one scope, whose user waits for it."""
    return _index(write.db, write.db.rows("search_due_of_scope", (scope, STEP_MESSAGES)), 8 * STEP_MESSAGES)


def _index(db: Database, sessions: list[Row], most: int) -> int:
    """Index up to `most` messages and titles of the sessions; return how many."""
    done = 0
    for (key,) in sessions:
        if done >= most:
            break
        done += _index_session(db, key, most - done)
    return done


def _index_session(db: Database, key: int, budget: int) -> int:
    """Index up to `budget` messages of a session, and its title; return how many, at least 1."""
    row = db.row("find_session_by_key", (key,))
    if row is None:
        raise AssertionError("a session that is due is there")
    stored = stored_of(row)
    title = stored.session.title
    titles = [] if stored.title_indexed else [(message_key(key, 0), entry(stored.scope, title))]
    bounds = (message_key(key, stored.indexed_seq + 1), message_key(key, MAX_STORED_SEQ))
    bodies = db.rows("bodies_between", (*bounds, budget))
    entries = titles + [(at, entry(stored.scope, body_text(body))) for at, body in bodies]
    db.run_many("add_words", [(at, said) for at, said in entries if said])
    finished = len(bodies) < budget
    indexed = stored.session.last_seq if finished else bodies[-1][0] & MAX_STORED_SEQ
    db.run("note_indexed", (indexed, int(not finished), key))
    return max(len(entries), 1)


def retitle(write: Write, stored: Stored, title: str) -> Stored:
    """Take the old title out of the index, note that the new one has to go in, and return the record so noted."""
    if not write.search or title == stored.session.title:
        return stored
    unindex_title(write.beside_appends, stored)
    write.beside_appends.run("note_title_stale", (stored.key,))
    write.indexable += 1
    return stored._replace(title_indexed=0, search_due=1)


def note_messages(write: Write, stored: Stored, count: int) -> Stored:
    """Note that a session gets messages, and return the record so noted."""
    if not write.search:
        return stored
    write.indexable += count
    if stored.search_due:
        return stored
    write.beside_appends.run("note_search_due", (stored.key,))
    return stored._replace(search_due=1)


def unindex_title(db: Database, stored: Stored) -> None:
    """Take the title out of the index, if it is in it."""
    said = entry(stored.scope, stored.session.title) if stored.title_indexed else ""
    if said:
        db.run("remove_words", (message_key(stored.key, 0), said))


def unindex(db: Database, scope: int, indexed_seq: int, rows: list[tuple[int, bytes]]) -> None:
    """Take messages, given as key and body, out of the index, so far as they are in it.

    The words of an unreadable one are not known any more: the index is built anew when the file is next opened.
    """
    indexed = [(key, body) for key, body in rows if key & MAX_STORED_SEQ <= indexed_seq]
    gone = [(key, entry(scope, body_text(body))) for key, body in indexed]
    db.run_many("remove_words", [(key, said) for key, said in gone if said])
    if any(fault(body) for _, body in indexed):
        db.run("set_meta", ("search", STALE))
