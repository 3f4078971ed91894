"""A copy from the memory store into an engine and back, for the tests of each engine."""

from __future__ import annotations

from typing import Any

from chatkeep.domain.messages import Feedback
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.services.comparing import MARK
from chatkeep.services.copying import CopyReport, CopyService
from chatkeep.stores.memory import MemoryStore
from chatkeep.testing import FakeClock, StoreHarness
from chatkeep.testing.calls import ALICE, say

_TEXTS = ("plain", "nul \0 and 😀", "", "x" * 20_000)


async def shown(store: Any, scope: Scope = ALICE) -> list[Any]:
    """Return all that a reader sees of a scope, but for what a copy cannot keep: incarnations and revisions."""
    page = await store.list_sessions(scope, SessionFilter(include_archived=True), limit=200)
    found = []
    for session in page.items:
        plain = session._replace(incarnation="", revision=0, pinned_at_ms=None, title_source="auto")
        entries = await store.read(scope, session.id, limit=1_000, path="all")
        states = {
            key: (await store.get_state(scope, session.id, key)).value
            for key in await store.state_keys(scope, session.id)
            if key != MARK
        }
        found.append((plain, [tuple(entry)[:9] for entry in entries], states))
    return found


async def there_and_back(harness: StoreHarness) -> None:
    """Copy a scope from memory into the engine, and from there into memory, and compare."""
    clock = FakeClock()
    before, after = MemoryStore(clock), MemoryStore(clock)
    for number in range(3):
        await say(before, *_TEXTS, session=f"s\0{number}", create=NewSession(title="T", metadata={"n": number}))
    await say(before, "another", session="s\x001", parent_seq=2)
    await before.redact(ALICE, "s\x001", 1)
    await before.annotate(ALICE, "s\x001", 2, Feedback("up", "good"))
    await before.prune(ALICE, "s\x002", before_seq=3)
    await before.put_state(ALICE, "s\x002", "k", b"\0\xff", expected_version=0)
    await before.update_session(ALICE, "s\x000", SessionPatch(state="pinned"))
    engine = await harness.open(clock)

    there = await CopyService(before, before, engine).copy()
    again = await CopyService(before, before, engine).copy()
    back = await CopyService(engine, engine, after).copy()

    for report in (there, again, back):
        assert_whole(report)
    assert again.messages == 0
    assert await shown(engine) == await shown(before)
    assert await shown(after) == await shown(before)


def assert_whole(report: CopyReport) -> None:
    """Check that a copy has compared three sessions and found all of them alike."""
    assert report.is_complete
    assert sum(report.sessions.values()) == 3
    assert report.verified_messages == 4 + 5 + 2
