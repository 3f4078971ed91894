from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import NewMessage, assistant, user
from chatkeep.domain.pages import Hit, HitPosition, Page
from chatkeep.domain.scope import Scope
from chatkeep.domain.search import SNIPPET_CHARS, matches, snippet, words
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession
from chatkeep.services import search as service
from chatkeep.services.search import SearchService
from chatkeep.stores.memory import MemoryStore

ALICE = Scope("t", "app", "alice")
BOB = Scope("t", "app", "bob")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(Clock())


async def keep(store: MemoryStore, session_id: str, *messages: NewMessage, scope: Scope = ALICE, **new: object) -> None:
    await store.create_session(scope, session_id, NewSession(**new))  # type: ignore[arg-type] # forwarded as it is
    if messages:
        await store.append(scope, session_id, messages, idempotency_key="k", digest=bytes(16))


def shown(page: Page[Hit, HitPosition]) -> list[tuple[str, int | None]]:
    return [(hit.session.id, hit.seq) for hit in page.items]


async def test_a_message_is_found_by_all_its_words_whatever_their_case_and_accents(store: MemoryStore) -> None:
    await keep(store, "s", user("Where is the CAFÉ in Straßburg?"), assistant("The café is closed."))
    search = SearchService(store)

    both = await search.search(ALICE, "cafe strassb")
    one = await search.search(ALICE, "strass cafe")

    assert shown(both) == [("s", 1)]
    assert shown(one) == []
    assert both.items[0].snippet == "Where is the CAFÉ in Straßburg?"
    assert both.items[0].highlights == ((13, 17), (21, 30))


async def test_titles_and_messages_come_newest_first(store: MemoryStore) -> None:
    await keep(store, "old", user("a pear"), title="Fruit")
    await keep(store, "new", user("an apple"), user("a pear again"), title="Pears")

    found = await SearchService(store).search(ALICE, "pear")

    assert shown(found) == [("new", 2), ("new", None), ("old", 1)]


async def test_what_is_not_the_callers_or_was_taken_away_is_not_found(store: MemoryStore) -> None:
    await keep(store, "bobs", user("secret"), scope=BOB)
    await keep(store, "trashed", user("secret"))
    await keep(store, "redacted", user("secret"))
    await keep(store, "cleared", user("secret"))
    await keep(store, "hidden", user("secret"), hidden=HIDDEN_UNTIL_REVEAL)
    await keep(store, "archived", user("secret"), state="archived")
    await store.trash_session(ALICE, "trashed", until=START + timedelta(days=7))
    await store.redact(ALICE, "redacted", 1)
    await store.prune(ALICE, "cleared", before_seq=2)

    found = await SearchService(store).search(ALICE, "secret")

    assert shown(found) == [("archived", 1)]


async def test_other_branches_are_found(store: MemoryStore) -> None:
    await keep(store, "s", user("first try"))
    await store.append(ALICE, "s", [user("second")], idempotency_key="2", digest=bytes(16), parent_seq=0)

    assert shown(await SearchService(store).search(ALICE, "first")) == [("s", 1)]


async def test_pages_show_every_hit_once(store: MemoryStore) -> None:
    for at in range(5):
        await keep(store, f"s{at}", user("needle"), user("hay"), user("needle two"))
    search = SearchService(store)
    whole = shown(await search.search(ALICE, "needle", limit=100))

    paged: list[tuple[str, int | None]] = []
    after: HitPosition | None = None
    while True:
        page = await search.search(ALICE, "needle", limit=3, after=after)
        paged += shown(page)
        if page.next is None:
            break
        after = page.next

    assert len(whole) == 10
    assert paged == whole


async def test_a_scan_stops_at_its_bound(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SCAN_MESSAGES", 150)
    for batch in range(2):
        await store.append(
            ALICE,
            "s",
            [user(f"needle {batch} {at}") for at in range(100)],
            idempotency_key=str(batch),
            digest=bytes(16),
            create=NewSession(),
        )

    found = await SearchService(store).search(ALICE, "needle", limit=100)
    rest = await SearchService(store).search(ALICE, "needle", limit=100, after=found.next)

    assert len(found.items) + len(rest.items) == 150
    assert rest.items[-1].seq == 51


@pytest.mark.parametrize("query", ["", " ?! ", " ".join(["word"] * 17)])
async def test_a_query_needs_one_to_sixteen_words(store: MemoryStore, query: str) -> None:
    with pytest.raises(Invalid, match="1 to 16 words"):
        await SearchService(store).search(ALICE, query)


class Index:
    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[str], int, HitPosition | None]] = []

    async def search(
        self, scope: Scope, words: Sequence[str], *, limit: int, after: HitPosition | None = None
    ) -> Page[Hit, HitPosition]:
        assert scope == ALICE
        self.asked.append((words, limit, after))
        return Page((), None)


async def test_an_index_is_asked_for_the_words(store: MemoryStore) -> None:
    index = Index()
    position = HitPosition(1, "s", 2)

    await SearchService(store, index).search(ALICE, "Éclair, please", limit=7, after=position)

    assert index.asked == [(["eclair", "please"], 7, position)]


def test_a_snippet_shows_whole_words_around_the_first_match() -> None:
    text = "lorem ipsum dolor " * 30 + "here it is:\nneedle " + "sit amet " * 40

    shown_text, places = snippet(text, ["needle"])

    assert len(shown_text) <= SNIPPET_CHARS + 2
    assert [shown_text[low:high] for low, high in places] == ["needle"]
    assert shown_text.startswith(("…ipsum ", "…dolor ", "…lorem "))
    assert shown_text.endswith((" sit…", " amet…"))
    assert "here it is: needle" in shown_text


def test_a_snippet_without_a_match_is_the_beginning() -> None:
    assert snippet("some text", ["other"]) == ("some text", ())


TEXTS = st.text(
    alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from("ßﬁİ ıéÅ㏂\u210cΣςab\u0301\u0327 \n日本")),
    max_size=400,
)


@given(TEXTS)
def test_words_stay_the_same_when_they_are_split_again(text: str) -> None:
    assert words(" ".join(words(text))) == words(text)


@given(TEXTS, TEXTS)
def test_every_match_is_highlighted_within_the_snippet(text: str, query: str) -> None:
    for wanted in (words(query)[:16], words(text)[-3:]):
        if not wanted:
            continue

        shown_text, places = snippet(text, wanted)

        assert len(shown_text) <= SNIPPET_CHARS + 2
        assert all(low < high for low, high in places)
        assert all(before[1] <= after[0] for before, after in pairwise(places))
        assert all(0 <= low < high <= len(shown_text) for low, high in places)
        assert bool(places) or not matches(words(text), wanted)
        for low, high in places:
            marked = words(shown_text[low:high])
            assert high - low == SNIPPET_CHARS or any(
                word in wanted[:-1] or word.startswith(wanted[-1][: len(word)]) for word in marked
            )
