"""Full-text search finds what a scan of everything would find."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import Text, ToolCall, assistant, user
from chatkeep.domain.pages import HitPosition
from chatkeep.domain.scope import Scope
from chatkeep.domain.search import matches, words
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession, SessionPatch
from chatkeep.stores.sqlite import SqliteStore, indexing, open_sqlite
from chatkeep.stores.sqlite.transaction import Write
from chatkeep.testing import FakeClock
from chatkeep.testing.calls import ALICE, BOB, digest, eventually, read_all, say

TERMS = "CREATE VIRTUAL TABLE temp.terms USING fts5vocab (main, search, row); SELECT term, doc FROM terms"
VOCABULARY = [
    "apple",
    "apples",
    "Äpfel",
    "pear",
    "PEAR",
    "plum_tree",
    "naïve",
    "été",
    "日本語",
    "x1",
    "™",
    "ﬁne",
    "don't",
]


async def _found(store: SqliteStore, *wanted: str, scope: Scope = ALICE, limit: int = 100) -> list[tuple[str, int]]:
    """Return all hits as (session id, seq; 0 for a title), page by page."""
    found: list[tuple[str, int]] = []
    after: HitPosition | None = None
    while True:
        page = await store.search(scope, wanted, limit=limit, after=after)
        found += [(hit.session.id, hit.seq or 0) for hit in page.items]
        if page.next is None:
            return found
        after = page.next


async def _is_indexed(store: SqliteStore) -> bool:
    return not await store._read(lambda db: db.rows("some_search_due", (1,)))


async def _scanned(store: SqliteStore, wanted: list[str], sessions: list[str]) -> list[tuple[str, int]]:
    hits = []
    for session_id in sessions:
        session = await store.find_session(ALICE, session_id)
        assert session is not None
        hits += [
            (message.created_at_us, session_id, message.seq)
            for message in await read_all(store, session=session_id, path="all")
            if matches(words(message.text), wanted)
        ]
        if matches(words(session.title), wanted):
            hits.append((session.modified_at_ms * 1_000, session_id, 0))
    return [(session_id, seq) for _, session_id, seq in sorted(hits, reverse=True)]


async def test_it_finds_what_a_scan_finds_in_the_same_order_whatever_the_page(
    store: SqliteStore, clock: FakeClock
) -> None:
    dice = random.Random(7)  # noqa: S311 -- a fixed choice of texts
    sessions = [f"s{at}" for at in range(6)]
    for session_id in sessions:
        await store.create_session(ALICE, session_id, NewSession(title=" ".join(dice.choices(VOCABULARY, k=2))))
    for _ in range(60):
        clock.advance(timedelta(milliseconds=dice.randrange(2)))
        said = [" ".join(dice.choices(VOCABULARY, k=4)) for _ in range(2)]
        await say(store, *said, session=dice.choice(sessions))

    for query in ("apple", "app", "apfel", "pear plum", "tree", "ete", "日本", "tm", "fine", "don t", "x"):
        wanted = words(query)
        expected = await _scanned(store, wanted, sessions)
        assert expected, query
        assert await _found(store, *wanted) == expected, query
        assert await _found(store, *wanted, limit=3) == expected, query


async def test_a_message_is_found_at_once(store: SqliteStore) -> None:
    for at in range(5):
        await say(store, f"apple {at}")

        assert await _found(store, "apple", str(at)) == [("s", at + 1)]


async def test_what_is_not_searched_for_any_more_goes_into_the_index_in_a_pause(store: SqliteStore) -> None:
    await say(store, *["apple"] * 100)

    assert await eventually(lambda: _is_indexed(store), bool)
    assert len(await _found(store, "apple")) == 100


async def test_what_waits_for_the_index_stays_bounded_though_the_writer_has_no_pause(store: SqliteStore) -> None:
    store._writer._most_unindexed = 50

    for _ in range(5):
        await say(store, *["apple"] * 100)
    waiting = await store._write(_count_unindexed)

    assert waiting <= 50


def _count_unindexed(write: Write) -> int:
    (row,) = write.db.connection.execute("SELECT sum(last_seq - indexed_seq) FROM sessions")
    return int(row[0])


async def test_nothing_of_another_scope_is_found(store: SqliteStore) -> None:
    await say(store, "apple")
    await say(store, "apple", scope=BOB)

    assert await _found(store, "apple") == [("s", 1)]
    assert await _found(store, "apple", scope=Scope("acme", "support", "carol")) == []


async def test_only_texts_are_searched(store: SqliteStore) -> None:
    messages = [user(Text("one apple"), Text("two pears")), assistant(ToolCall("1", "apple", {"apple": "apple"}))]
    await store.append(ALICE, "s", messages, idempotency_key="k", digest=digest("k"), create=NewSession())

    assert await _found(store, "apple") == [("s", 1)]
    assert await _found(store, "one", "pears") == [("s", 1)]


async def test_a_hit_shows_its_words_in_their_surroundings(store: SqliteStore) -> None:
    await say(store, "What is an Äpfel?")

    (hit,) = (await store.search(ALICE, ["apf"], limit=10)).items

    assert [hit.snippet[low:high] for low, high in hit.highlights] == ["Äpfel"]


@pytest.mark.parametrize("indexed", [True, False])
async def test_what_is_gone_from_sight_is_not_found(store: SqliteStore, clock: FakeClock, *, indexed: bool) -> None:
    for name in ("redacted", "pruned", "trashed", "purged", "kept"):
        await store.create_session(ALICE, name, NewSession(title="apple"))
        await say(store, "apple", "pear", session=name)
    await store.create_session(ALICE, "hidden", NewSession(title="apple", hidden=HIDDEN_UNTIL_REVEAL))
    await store.create_session(ALICE, "expired", NewSession(title="apple", idle_ttl=timedelta(seconds=1)))
    if indexed:
        assert len(await _found(store, "apple")) == 11

    await store.redact(ALICE, "redacted", 1)
    await store.prune(ALICE, "pruned", before_seq=2)
    await store.trash_session(ALICE, "trashed", until=clock.now + timedelta(days=1))
    await store.purge_session(ALICE, "purged")
    clock.advance(timedelta(seconds=1))

    assert sorted(await _found(store, "apple")) == [("kept", 0), ("kept", 1), ("pruned", 0), ("redacted", 0)]
    await store.restore_session(ALICE, "trashed")
    assert len(await _found(store, "apple")) == 6


async def test_a_title_is_found_by_its_present_words_alone(store: SqliteStore) -> None:
    await store.create_session(ALICE, "s", NewSession(title="apple"))
    assert await _found(store, "apple") == [("s", 0)]

    await store.update_session(ALICE, "s", SessionPatch(title="pear"))

    assert await _found(store, "apple") == []
    assert await _found(store, "pear") == [("s", 0)]
    await store.update_session(ALICE, "s", SessionPatch(title="plum"))
    await store.update_session(ALICE, "s", SessionPatch(title="apple"))
    assert await _found(store, "pear") == []
    assert await _found(store, "apple") == [("s", 0)]


async def test_an_index_is_emptied_entry_by_entry_whatever_they_hold(store: SqliteStore) -> None:
    await store.create_session(ALICE, "s", NewSession(title="?!"))
    await say(store, "apple", "...", "pear", "")
    await _found(store, "apple")
    await store.redact(ALICE, "s", 3)
    await say(store, "plum", "late")
    await store.redact(ALICE, "s", 5)
    await _found(store, "apple")

    await store.purge_session(ALICE, "s")
    await say(store, "apple")

    assert await _found(store, "apple") == [("s", 1)]


async def test_words_of_an_unreadable_message_leave_the_index_when_the_file_is_next_opened(path: Path) -> None:
    store = await open_sqlite(path)
    await say(store, "apple", "apple")
    await _found(store, "apple")
    await store._write(lambda write: write.db.sql("UPDATE messages SET body = x'00' WHERE key & 1"))

    await store.redact(ALICE, "s", 1)
    seen = await _found(store, "apple")
    await store.close()
    store = await open_sqlite(path)

    assert seen == await _found(store, "apple") == [("s", 2)]
    terms = await store._read(lambda db: db.connection.execute(TERMS).fetchall())
    assert terms == [("1§apple", 1)]
    await store.close()


async def test_branches_are_searched_as_well(store: SqliteStore) -> None:
    await say(store, "apple", "pear")
    await say(store, "plum", parent_seq=1)

    assert await _found(store, "pear") == [("s", 2)]


async def test_the_index_is_built_when_it_is_wanted_and_dropped_when_it_is_not(path: Path, clock: FakeClock) -> None:
    store = await open_sqlite(path, clock=clock, search=False)
    await say(store, "apple")
    await store.close()

    store = await open_sqlite(path, clock=clock)
    assert await _found(store, "apple") == [("s", 1)]
    await store.close()
    store = await open_sqlite(path, clock=clock, search=False)
    assert (await store.schema())["search"] == "none"
    await say(store, "pear")
    await store.close()
    store = await open_sqlite(path, clock=clock)
    assert await _found(store, "pear") == [("s", 2)]
    await store.close()


async def test_an_index_of_other_words_is_built_anew(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite(path, clock=clock)
    await say(store, "apple")
    assert await _found(store, "apple") == [("s", 1)]
    await store.close()

    monkeypatch.setattr("chatkeep.stores.sqlite.schema.WORDS_VERSION", indexing.WORDS_VERSION + "'")
    store = await open_sqlite(path, clock=clock)

    assert await _found(store, "apple") == [("s", 1)]
    await store.close()


@pytest.mark.parametrize("wanted", [[], ["two words"], ["UPPER"], ['"'], ["a"] * 17])
async def test_what_are_no_words_is_invalid(store: SqliteStore, wanted: list[str]) -> None:
    with pytest.raises(Invalid):
        await store.search(ALICE, wanted, limit=10)
