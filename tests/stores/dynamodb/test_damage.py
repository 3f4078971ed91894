"""Items that cannot be decoded: a typed error for readers, and no obstacle to erasure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chatkeep.domain.errors import CorruptRecord
from chatkeep.domain.messages import user
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.runs import NewRun
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.stores.dynamodb import DynamoStore
from chatkeep.stores.items.keys import run_key, session_key
from chatkeep.stores.items.tables import LOG, SESSIONS, Key
from chatkeep.testing import FakeClock

ALICE = Scope("acme", "support", "alice")
DIGEST = b"d" * 32


async def _damage(store: DynamoStore, table: str, key: Key) -> None:
    item = await store._tables.get(table, key)
    assert item is not None
    await store._tables.put(table, key, {**item, "rec": "{"})


async def _answering(store: DynamoStore, session_id: str) -> None:
    await store.append(ALICE, session_id, [user("a")], idempotency_key="k", digest=DIGEST, create=NewSession())
    new = NewRun(id=f"run of {session_id}", request="q", digest=DIGEST, claimant="me")
    await store.claim_run(ALICE, session_id, new, lease=timedelta(seconds=15))


async def test_a_damaged_session_is_corrupt_for_readers_and_can_be_erased(harness: Any) -> None:
    store = await harness.open(FakeClock())
    await _answering(store, "damaged")
    await _answering(store, "sound")
    await _damage(store, SESSIONS, session_key(ALICE, "damaged"))

    with pytest.raises(CorruptRecord):
        await store.find_session(ALICE, "damaged")
    sound = await store.read(ALICE, "sound", limit=1)
    listed = await store.list_sessions(ALICE, SessionFilter(), limit=10)
    count = await store.count_sessions()
    receipt = await store.erase_scope(ALICE)

    assert len(sound) == 1
    assert [session.id for session in listed.items] == ["sound"]
    assert count == 1
    assert receipt.removed["sessions"] == 2
    assert await harness.rows() == []


async def test_a_damaged_run_goes_with_its_session(harness: Any) -> None:
    store = await harness.open(FakeClock())
    await _answering(store, "s")
    await _damage(store, LOG, run_key(ALICE, "run of s"))

    with pytest.raises(CorruptRecord):
        await store.find_run(ALICE, "run of s")
    await store.purge_session(ALICE, "s")

    assert await harness.rows() == []
