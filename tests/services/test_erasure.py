"""What goes with a message."""

from __future__ import annotations

from tests.services.conftest import ALICE, Clock

from chatkeep.domain.messages import assistant, user
from chatkeep.domain.policies import RetentionPolicies
from chatkeep.domain.sessions import NewSession
from chatkeep.services.erasure import Erasure
from chatkeep.services.history import HistoryService
from chatkeep.services.lines import TurnLines
from chatkeep.stores.memory import MemoryStore


async def _store(clock: Clock) -> MemoryStore:
    store = MemoryStore(clock=clock)
    history = HistoryService(store, RetentionPolicies())
    await store.create_session(ALICE, "s", NewSession())
    for turn in range(20):
        await history.append(ALICE, "s", [user(f"The word of turn {turn} is word-{turn}x."), assistant("Noted. " * 8)])
    return store


async def test_the_lines_of_pruned_questions_go(clock: Clock) -> None:
    store = await _store(clock)
    session = await store.find_session(ALICE, "s")
    assert session is not None
    for seq in (1, 3, 9):
        await TurnLines(store).put(ALICE, "s", seq, f"line {seq}", incarnation=session.incarnation)

    await Erasure(store).prune(ALICE, "s", before_seq=9)

    assert await TurnLines(store).get(ALICE, "s") == {9: "line 9"}
