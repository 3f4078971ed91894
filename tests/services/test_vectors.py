"""Choosing older messages by their meaning, with an embedder that knows a few words for the same thing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.services.conftest import ALICE, Clock

from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.errors import ModelUnavailable
from chatkeep.domain.messages import Text, assistant, user
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.sessions import NewSession
from chatkeep.domain.vectors import PAGE_SEQS
from chatkeep.embedders.vectors import ExactLikeness
from chatkeep.ports.store import State
from chatkeep.services.context import ContextService, Explained, Question
from chatkeep.services.erasure import Erasure
from chatkeep.services.history import HistoryService
from chatkeep.services.vectors import VectorShelf
from chatkeep.stores.memory import MemoryStore

POLICY = ContextPolicy(
    strategy="recent", max_messages=4, tmax_tokens=1_000, relevant_tokens=100, relevance="hybrid", summaries=False
)
_MEANINGS = (("dog", "puppy", "hound"), ("boat", "ship", "vessel"), ("rain", "drizzle", "storm"))


class Meanings:
    """A dimension for each meaning, and one that every text has."""

    is_ready = True

    def __init__(self, name: str = "meanings") -> None:
        self.name = name
        self.asked: list[str] = []
        self.fails = False
        self.hangs = False

    async def load(self) -> None:
        pass

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        if self.fails:
            raise ModelUnavailable("down")
        if self.hangs:
            await asyncio.Event().wait()
        self.asked += texts
        return [
            bytes([20, *(100 * any(word in text.lower() for word in words) for words in _MEANINGS)]) for text in texts
        ]

    def likeness(self) -> ExactLikeness:
        return ExactLikeness(1 + len(_MEANINGS))


class Place:
    """One session with twice PAGE_SEQS messages, one of which is of a dog."""

    def __init__(self, clock: Clock, embedder: Meanings, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore(clock=clock)
        self.embedder = embedder
        self.history = HistoryService(self.store, RetentionPolicies())
        self.context = ContextService(self.store, clock, POLICY, embedder=embedder)

    async def fill(self) -> None:
        await self.store.create_session(ALICE, "s", NewSession())
        for turn in range(PAGE_SEQS):
            said = "We have a puppy called Rex." if turn == 5 else f"Nothing of note on day {turn}."
            await self.history.append(ALICE, "s", [user(said), assistant(f"I see, day {turn}.")])

    async def ask(self, text: str = "Tell me about the hound") -> Explained:
        return await self.context.prepare(ALICE, "s", Question(text=text))

    async def stored(self) -> set[int]:
        pages = [await VectorShelf(self.store).get(ALICE, "s", number) for number in range(3)]
        return {seq for kept in pages for seq in kept.page.vectors}


@pytest.fixture
async def place(clock: Clock) -> Place:
    made = Place(clock, Meanings())
    await made.fill()
    return made


def quoted(explained: Explained) -> str:
    texts = [part.text for message in explained.prompt.messages for part in message.parts if isinstance(part, Text)]
    return "\n".join(text for text in texts if "quoted_messages" in text)


async def test_a_message_in_other_words_is_quoted_once_it_has_its_vector(place: Place) -> None:
    first = await place.ask()
    await place.context.settled()
    second = await place.ask()

    assert (first.prompt.report.relevance, second.prompt.report.relevance) == ("bm25", "hybrid")
    assert "Rex" not in quoted(first)
    assert "Rex" in quoted(second)


async def test_without_words_only_meaning_counts(place: Place, clock: Clock) -> None:
    context = ContextService(
        place.store,
        clock,
        ContextPolicy(relevance="embedding", max_messages=4, strategy="recent"),
        embedder=place.embedder,
    )
    await context.prepare(ALICE, "s", Question(text="day 7, and the hound"))
    await context.settled()
    found = await context.prepare(ALICE, "s", Question(text="day 7, and the hound"))

    assert found.prompt.report.relevance == "embedding"
    assert "Rex" in quoted(found)
    assert "day 7" not in quoted(found)


async def test_a_message_is_embedded_once_and_another_process_reads_its_vector(place: Place, clock: Clock) -> None:
    await place.ask()
    await place.context.settled()
    made = len(place.embedder.asked)
    other = Place(clock, Meanings(), place.store)

    found = await other.ask()
    await other.context.settled()

    assert made == 2 * PAGE_SEQS
    assert await place.stored() == set(range(1, 2 * PAGE_SEQS + 1))
    assert "Rex" in quoted(found)
    assert other.embedder.asked == ["Tell me about the hound"]


async def test_a_page_waits_until_its_messages_are_all_there(place: Place) -> None:
    await place.history.append(ALICE, "s", [user("A boat came by."), assistant("Which one?")])
    await place.ask()
    await place.context.settled()
    before = await place.stored()

    for _ in range(PAGE_SEQS // 2):
        await place.history.append(ALICE, "s", [user("More."), assistant("Yes.")])
    await place.ask()
    await place.context.settled()

    assert max(before) == 2 * PAGE_SEQS
    assert await place.stored() == set(range(1, 3 * PAGE_SEQS + 1))
    questions = [text for text in place.embedder.asked if text == "Tell me about the hound"]
    assert len(place.embedder.asked) - len(questions) == 3 * PAGE_SEQS + 2


async def test_the_vectors_of_another_model_are_made_anew(place: Place, clock: Clock) -> None:
    await place.ask()
    await place.context.settled()
    other = Place(clock, Meanings("another"), place.store)

    await other.ask()
    await other.context.settled()

    assert len(other.embedder.asked) == 2 * PAGE_SEQS
    assert (await VectorShelf(place.store).get(ALICE, "s", 0)).page.name == "another"


async def test_a_page_that_cannot_be_read_is_made_anew(place: Place, clock: Clock) -> None:
    await place.ask()
    await place.context.settled()
    state = await place.store.get_state(ALICE, "s", "context/vectors/0")
    assert state is not None
    await place.store.put_state(ALICE, "s", "context/vectors/0", b"\x07", expected_version=state.version)
    other = Place(clock, Meanings(), place.store)

    await other.ask()
    await other.context.settled()

    assert len(other.embedder.asked) == PAGE_SEQS + 1
    assert await place.stored() == set(range(1, 2 * PAGE_SEQS + 1))


async def test_an_embedder_that_fails_costs_no_answer(place: Place) -> None:
    place.embedder.fails = True
    first = await place.ask("day 7")
    await place.context.settled()
    place.embedder.fails = False
    await place.ask()
    await place.context.settled()
    place.embedder.fails = True

    last = await place.ask("day 7")

    assert [one.prompt.report.relevance for one in (first, last)] == ["bm25", "bm25"]
    assert "day 7" in quoted(first)
    assert "day 7" in quoted(last)


async def test_an_embedder_that_hangs_is_not_waited_for(place: Place) -> None:
    await place.ask()
    await place.context.settled()
    place.embedder.hangs = True

    found = await place.ask("day 7")

    assert found.prompt.report.relevance == "bm25"
    assert "day 7" in quoted(found)
    await place.context.close()


async def test_a_redacted_message_loses_its_vector_and_gets_no_other(place: Place) -> None:
    await place.ask()
    await place.context.settled()

    await place.history.redact(ALICE, "s", 11)
    left = await place.stored()
    found = await place.ask()
    await place.context.settled()

    assert left == set(range(1, 2 * PAGE_SEQS + 1)) - {11} == await place.stored()
    assert "Rex" not in quoted(found)


async def test_pruned_and_cleared_messages_lose_their_vectors(place: Place) -> None:
    await place.ask()
    await place.context.settled()

    await Erasure(place.store).prune(ALICE, "s", before_seq=PAGE_SEQS + 5)
    left = await place.stored()
    await place.history.clear(ALICE, "s")

    assert left == set(range(PAGE_SEQS + 5, 2 * PAGE_SEQS + 1))
    assert await place.stored() == set()


class Racing(MemoryStore):
    """Does something else just before a page of vectors is written."""

    meanwhile: Any = None

    async def put_state(self, *args: Any, **named: Any) -> State:
        if args[2] == "context/vectors/0" and self.meanwhile is not None:
            todo, self.meanwhile = self.meanwhile, None
            await todo()
        return await super().put_state(*args, **named)


@pytest.mark.parametrize("how", ["redact", "prune"])
async def test_what_is_erased_while_it_is_stored_is_not_stored(clock: Clock, how: str) -> None:
    store = Racing(clock=clock)
    place = Place(clock, Meanings(), store)
    await place.fill()

    async def erase() -> None:
        if how == "redact":
            await place.history.redact(ALICE, "s", 11)
        else:
            await Erasure(store).prune(ALICE, "s", before_seq=12)

    store.meanwhile = erase
    await place.ask()
    await place.context.settled()

    assert store.meanwhile is None
    assert 11 not in await place.stored()


class Dying(MemoryStore):
    """Dies when messages shall be pruned."""

    dies = True

    async def prune(self, *args: Any, **named: Any) -> Any:
        pruned = await super().prune(*args, **named)
        if self.dies:
            raise InterruptedError
        return pruned


async def test_a_prune_that_is_killed_behind_its_rows_leaves_no_vector(clock: Clock) -> None:
    store = Dying(clock=clock)
    place = Place(clock, Meanings(), store)
    await place.fill()
    await place.ask()
    await place.context.settled()

    with pytest.raises(InterruptedError):
        await Erasure(store).prune(ALICE, "s", before_seq=20)

    assert min(await place.stored()) == 20
