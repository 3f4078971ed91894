"""The capability of full-text search; for engines that declare it."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

import pytest

from chatkeep.domain.errors import Invalid
from chatkeep.domain.messages import Data, Foreign, Reasoning, Text, user
from chatkeep.domain.pages import Hit, HitPosition
from chatkeep.domain.search import MAX_WORDS
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession, SessionPatch
from chatkeep.ports.store import SearchIndex
from chatkeep.testing.calls import ALICE, BOB, NEW, digest, say
from chatkeep.testing.clock import FakeClock
from chatkeep.testing.harness import AnyStore, StoreHarness
from chatkeep.testing.suite import Suite

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


class SearchableStore(AnyStore, SearchIndex, Protocol):
    """An engine that declares the capability."""


async def hits(store: SearchableStore, *words: str, limit: int = 100) -> list[Hit]:
    """Return the hits of all pages."""
    found: list[Hit] = []
    after: HitPosition | None = None
    while True:
        page = await store.search(ALICE, words, limit=limit, after=after)
        assert len(page.items) <= limit
        found += page.items
        if page.next is None:
            return found
        assert page.next != after, "a search that does not advance"
        after = page.next


async def places(store: SearchableStore, *words: str, limit: int = 100) -> list[tuple[str, int | None]]:
    """Return where the words are found."""
    return [(hit.session.id, hit.seq) for hit in await hits(store, *words, limit=limit)]


class SearchContract(Suite):
    """Every clause of `SearchIndex`. The stores of the harness have to be searchable."""

    async def test_all_words_are_wanted_and_the_last_may_be_a_beginning(self, store: SearchableStore) -> None:
        await say(store, "The quick brown fox", "a quick answer", "brownies")

        assert await places(store, "quick") == [("s", 2), ("s", 1)]
        assert await places(store, "quick", "bro") == [("s", 1)]
        assert await places(store, "bro", "quick") == []
        assert await places(store, "brown") == [("s", 3), ("s", 1)]
        assert await places(store, "absent") == []

    async def test_case_and_diacritics_make_no_difference(self, store: SearchableStore) -> None:
        await say(store, "CAFÉ Größe", "cafe\u0301", "\u4e2d\u6587 text", "😀 smile")

        assert await places(store, "cafe") == [("s", 2), ("s", 1)]
        assert await places(store, "cafe", "gro") == [("s", 1)]
        assert await places(store, "smile") == [("s", 4)]

    async def test_words_of_one_message_may_stand_in_several_texts_but_in_nothing_else(
        self, store: SearchableStore
    ) -> None:
        parts = (Text("first half"), Reasoning("hidden thought"), Data("d", "stored value"), Foreign("f", "raw item"))
        message = user(*parts, "second half")

        await store.append(ALICE, "s", [message], idempotency_key="k", digest=digest("k"), create=NEW)

        assert await places(store, "first", "second") == [("s", 1)]

    async def test_a_hit_shows_where_the_words_stand(self, store: SearchableStore, clock: FakeClock) -> None:
        await say(store, "well, hello " + "x " * 300 + "needle there")

        [hit] = await hits(store, "needle")

        assert hit.session == await store.find_session(ALICE, "s")
        assert [hit.snippet[low:high] for low, high in hit.highlights] == ["needle"]
        assert len(hit.snippet) <= 162
        assert hit.at_us == int(clock.now.timestamp()) * 1_000_000

    async def test_titles_are_found(self, store: SearchableStore) -> None:
        await store.create_session(ALICE, "s", NewSession(title="Refund of needles"))
        found = await places(store, "needles")
        await store.update_session(ALICE, "s", SessionPatch(title="Something else"))

        assert found == [("s", None)]
        assert await places(store, "needles") == []
        assert await places(store, "something") == [("s", None)]

    @pytest.mark.parametrize("limit", [1, 2, 7, 100])
    async def test_hits_come_newest_first_on_pages_of_any_size(
        self, store: SearchableStore, clock: FakeClock, limit: int
    ) -> None:
        wanted: list[tuple[str, int | None]] = []
        for n in range(4):
            clock.advance(SECOND)
            await say(store, "needle a", "needle b", session=f"s{n}")
            wanted = [(f"s{n}", 2), (f"s{n}", 1), *wanted]

        assert await places(store, "needle", limit=limit) == wanted

    async def test_archived_sessions_and_other_branches_are_found(self, store: SearchableStore) -> None:
        await say(store, "a", "needle")
        await say(store, "other", parent_seq=1)
        await store.update_session(ALICE, "s", SessionPatch(state="archived"))

        assert await places(store, "needle") == [("s", 2)]

    async def test_what_is_gone_is_not_found(self, store: SearchableStore, clock: FakeClock) -> None:
        await say(store, "needle", session="expired", idle_ttl=HOUR)
        await say(store, "needle", session="trashed")
        await say(store, "needle", session="purged")
        await say(store, "needle", session="hidden", create=NewSession(hidden=HIDDEN_UNTIL_REVEAL))
        await say(store, "needle", "needle", session="redacted")
        await say(store, "needle", "needle", session="pruned")
        await say(store, "needle", session="cleared")
        await say(store, "needle", scope=BOB)

        clock.advance(HOUR)
        await store.trash_session(ALICE, "trashed", until=clock.now + HOUR)
        await store.purge_session(ALICE, "purged")
        await store.redact(ALICE, "redacted", 2)
        await store.prune(ALICE, "pruned", before_seq=2)
        await store.prune(ALICE, "cleared", before_seq=2)

        assert sorted(await places(store, "needle")) == [("pruned", 2), ("redacted", 1)]
        await store.restore_session(ALICE, "trashed")
        assert ("trashed", 1) in await places(store, "needle")

    async def test_a_new_incarnation_is_not_found_by_the_words_of_the_old(self, store: SearchableStore) -> None:
        await say(store, "needle")
        await store.purge_session(ALICE, "s")
        await say(store, "hay")

        assert await places(store, "needle") == []
        assert await places(store, "hay") == [("s", 1)]

    async def test_a_damaged_row_hides_no_other(self, store: SearchableStore, harness: StoreHarness) -> None:
        await say(store, "needle one", "needle two")
        await harness.corrupt(ALICE, "s", 2)

        assert ("s", 1) in await places(store, "needle")

    async def test_damaged_rows_that_were_found_before_can_be_removed(
        self, store: SearchableStore, harness: StoreHarness
    ) -> None:
        messages = [user("needle plain"), user("needle made", model="m"), user("needle more", model="m")]
        for session_id in ("redacted", "pruned", "purged"):
            await store.append(ALICE, session_id, messages, idempotency_key="k", digest=digest("k"), create=NEW)
        await say(store, "needle sound")
        before = await places(store, "needle")
        for session_id in ("redacted", "pruned", "purged"):
            for seq in (1, 2):
                await harness.corrupt(ALICE, session_id, seq)

        for seq in (1, 2):
            await store.redact(ALICE, "redacted", seq)
        await store.prune(ALICE, "pruned", before_seq=3)
        await store.purge_session(ALICE, "purged")

        assert len(before) == 10
        assert sorted(await places(store, "needle")) == [("pruned", 3), ("redacted", 3), ("s", 1)]
        await store.erase_scope(ALICE)
        assert await places(store, "needle") == []

    @pytest.mark.parametrize("limit", [0, 101])
    async def test_a_search_limit_out_of_range_is_invalid(self, store: SearchableStore, limit: int) -> None:
        with pytest.raises(Invalid):
            await store.search(ALICE, ["a"], limit=limit)

    @pytest.mark.parametrize("words", [[], ["a"] * (MAX_WORDS + 1)], ids=len)
    async def test_too_few_or_too_many_words_are_invalid(self, store: SearchableStore, words: list[str]) -> None:
        with pytest.raises(Invalid):
            await store.search(ALICE, words, limit=1)
