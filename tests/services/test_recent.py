"""Messages kept in memory between two prompts: read once, and never shown after their erasure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.services.conftest import ALICE, Clock

from chatkeep.domain.budgets import ContextPolicy
from chatkeep.domain.errors import StoreError
from chatkeep.domain.folding import Entry
from chatkeep.domain.messages import Message, Text, assistant, user
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.domain.summaries import Summaries
from chatkeep.services import recent
from chatkeep.services.context import ContextService, Question
from chatkeep.services.erasure import Erasure
from chatkeep.services.history import HistoryService
from chatkeep.services.recent import RecentMessages
from chatkeep.services.sessions import SessionService
from chatkeep.stores.memory import MemoryStore

POLICY = ContextPolicy(relevance="off")


class WatchedStore(MemoryStore):
    """Tells which messages were read, and can fail to blank one."""

    seqs: list[int]
    is_away = False

    async def read(self, scope: Scope, session_id: str, **how: Any) -> Sequence[Entry]:
        page = await super().read(scope, session_id, **how)
        self.seqs += [entry.seq for entry in page]
        return page

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        if self.is_away:
            raise StoreError("the test has taken it away")
        return await super().redact(scope, session_id, seq)


class Room:
    """A session of one user, and what makes its prompts."""

    def __init__(self, clock: Clock) -> None:
        self.store = WatchedStore(clock=clock)
        self.store.seqs = []
        self.history = HistoryService(self.store, RetentionPolicies())
        self.messages = RecentMessages(self.store)
        self.context = ContextService(self.store, clock, POLICY)

    async def said(self) -> list[str]:
        """Return the texts of the next prompt."""
        prompt = (await self.context.prepare(ALICE, "s", Question())).prompt
        return [part.text for message in prompt.messages for part in message.parts if isinstance(part, Text)]

    async def kept(self, *, epoch: int = 0) -> recent.Read:
        """Return what is read of the whole session after so many erasures of which none is remembered."""
        session = await self.store.find_session(ALICE, "s")
        assert session is not None
        summaries = Summaries(incarnation=session.incarnation, epoch=epoch)
        return await self.messages.read(ALICE, session, summaries, ((session.first_seq, session.last_seq),))


@pytest.fixture
async def room(clock: Clock) -> Room:
    """Give a session of four messages."""
    room = Room(clock)
    await room.store.create_session(ALICE, "s", NewSession())
    await room.history.append(ALICE, "s", [user("one"), assistant("two"), user("three"), assistant("four")])
    return room


async def test_the_next_prompt_reads_what_is_new(room: Room) -> None:
    assert await room.said() == ["one", "two", "three", "four"]
    room.store.seqs.clear()
    await room.history.append(ALICE, "s", [user("five")])

    assert await room.said() == ["one", "two", "three", "four", "five"]
    assert room.store.seqs == [5]


async def test_estimates_are_kept_with_the_messages(room: Room) -> None:
    first = await room.kept()

    assert await room.kept() == first
    assert set(first.tokens) == {1, 2, 3, 4}


async def test_a_redacted_message_is_not_shown_again(room: Room) -> None:
    await room.said()
    await room.history.redact(ALICE, "s", 2)

    assert "two" not in await room.said()


async def test_nor_is_one_of_more_than_are_remembered(room: Room) -> None:
    await room.kept()
    await room.store.redact(ALICE, "s", 2)

    entries = (await room.kept(epoch=1)).entries

    assert [isinstance(entry, Message) and entry.text for entry in entries] == ["one", "", "three", "four"]


async def test_what_is_being_erased_is_read_anew_each_time(room: Room) -> None:
    await room.said()
    room.store.is_away = True
    with pytest.raises(StoreError):
        await room.history.redact(ALICE, "s", 2)  # told to everybody, but its row is not blank yet
    await room.said()
    room.store.is_away = False
    await room.store.redact(ALICE, "s", 2)  # as a repeat would do at last, without another word to anybody

    assert "two" not in await room.said()


async def test_a_pruned_message_is_not_shown_again(room: Room) -> None:
    await room.said()
    await Erasure(room.store).prune(ALICE, "s", before_seq=3)

    assert await room.said() == ["three", "four"]


async def test_another_session_of_the_same_name_shows_its_own_messages(room: Room, clock: Clock) -> None:
    await room.said()
    sessions = SessionService(room.store, clock, RetentionPolicies())
    await sessions.purge(ALICE, "s")
    await room.store.create_session(ALICE, "s", NewSession())
    await room.history.append(ALICE, "s", [user("uno")])

    assert await room.said() == ["uno"]


async def test_only_so_much_is_kept(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 5_500)
    await room.store.create_session(ALICE, "long", NewSession())
    await room.history.append(ALICE, "long", [user("seven hundred")] * 5)
    await room.said()
    await room.context.prepare(ALICE, "long", Question())
    room.store.seqs.clear()

    await room.context.prepare(ALICE, "long", Question())
    await room.said()

    assert sorted(room.store.seqs) == [1, 1, 2, 2, 3, 3, 4, 4, 5]


async def test_many_sessions_of_little_text_are_too_much_as_well(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 20_000)
    await room.said()
    for number in range(20):
        await room.store.create_session(ALICE, f"s{number}", NewSession())
        await room.history.append(ALICE, f"s{number}", [user("x")])
        await room.context.prepare(ALICE, f"s{number}", Question())
    room.store.seqs.clear()

    await room.said()

    assert room.store.seqs == [1, 2, 3, 4]
