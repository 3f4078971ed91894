"""The janitor's scans go on where they stopped, and come round to everything."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.stores.items import maintenance
from chatkeep.testing import FakeClock

TTL = timedelta(days=1)
SCOPES = [Scope("acme", "support", f"user {index}") for index in range(4)]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_PAGE", 2)
    monkeypatch.setattr(maintenance, "_PAGES_A_CALL", 3)


async def _fill(store: Any) -> None:
    for scope in SCOPES:
        for index in range(5):
            ttl = TTL if index % 2 else None
            await store.create_session(scope, f"s{index}", NewSession(idle_ttl=ttl))


@pytest.mark.usefixtures("small_pages")
async def test_every_gone_session_is_found_by_some_call(harness: Any) -> None:
    clock = FakeClock()
    store = await harness.open(clock)
    await _fill(store)
    clock.advance(TTL)

    calls = [await store.due_sessions(limit=3) for _ in range(12)]

    assert all(len(set(found)) == len(found) <= 3 for found in calls)
    places = {(scope, session_id) for found in calls for scope, session_id, _ in found}
    assert places == {(scope, session_id) for scope in SCOPES for session_id in ("s1", "s3")}


@pytest.mark.usefixtures("small_pages")
async def test_scopes_come_page_by_page_each_once(harness: Any) -> None:
    store = await harness.open(FakeClock())
    await _fill(store)

    first = list(await store.iter_scopes(limit=3))
    rest = list(await store.iter_scopes(after=first[-1], limit=3))

    assert len(first) == 3
    assert len(rest) == 1
    assert set(first + rest) == set(SCOPES)
