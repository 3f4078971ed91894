from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatkeep.domain.messages import (
    Feedback,
    NewMessage,
    assistant,
    system,
    user,
)
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, SessionPatch
from chatkeep.services.transfer import ImportReport, TransferService
from chatkeep.stores.memory import MemoryStore

ALICE = Scope("t", "app", "alice")
START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=365)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def store_at(now: datetime) -> MemoryStore:
    return MemoryStore(Clock(now))


def transfer_of(store: MemoryStore, *, idle_ttl: timedelta | None = None) -> TransferService:
    return TransferService(store, Clock(LATER), idle_ttl=lambda _: idle_ttl)


async def exported(store: MemoryStore, session_ids: Sequence[str] | None = None) -> list[str]:
    return [line async for line in transfer_of(store).export(ALICE, session_ids)]


async def imported(store: MemoryStore, lines: Sequence[str], **options: Any) -> ImportReport:
    return await transfer_of(store).import_lines(ALICE, lines, **options)


async def keep(
    store: MemoryStore, session_id: str, *messages: NewMessage, parent_seq: int | None = None, **new: Any
) -> None:
    """Append the messages to the session, which is created from `new` if it is missing."""
    session, _ = await store.ensure_session(ALICE, session_id, NewSession(**new))
    await store.append(
        ALICE,
        session_id,
        messages,
        idempotency_key=f"k{session.last_seq}",
        digest=bytes(16),
        parent_seq=parent_seq,
        idle_ttl=None,
    )


async def test_a_longer_import_is_appended_and_keeps_the_settings_that_were_made_here() -> None:
    store = store_at(START)
    await keep(store, "s", user("1"), title="There", title_source="user")
    other = store_at(LATER)
    await imported(other, await exported(store))
    await other.update_session(ALICE, "s", SessionPatch(title="Here", state="pinned"))
    await keep(store, "s", assistant("2"), user("3"))

    report = await imported(other, await exported(store))

    assert (report.continued, report.messages) == (1, 2)
    session = await other.find_session(ALICE, "s")
    assert session is not None
    assert (session.title, session.state, session.last_seq) == ("Here", "pinned", 3)


async def test_a_session_that_went_on_here_is_left_alone() -> None:
    store = store_at(START)
    await keep(store, "s", user("1"))
    await store.annotate(ALICE, "s", 1, Feedback("up"))
    lines = await exported(store)
    await keep(store, "s", user("2"))
    await store.annotate(ALICE, "s", 1, None)
    version = await store.scope_version(ALICE)

    report = await imported(store, lines)

    assert report.unchanged == 1
    assert await store.scope_version(ALICE) == version


@pytest.mark.parametrize(
    "change",
    [
        {"role": "assistant"},
        {"status": "failed"},
        {"created_at": "2025-12-31T23:59:59.999999Z"},
        {"parts": [{"type": "text", "text": "other"}]},
        {"metadata": {"n": 1.0}},
        {"parent_seq": 0},
    ],
)
async def test_a_session_that_differs_is_a_conflict_and_nothing_of_it_changes(change: dict[str, Any]) -> None:
    store = store_at(START)
    await keep(store, "s", user("1"), user("2", metadata={"n": 1}))
    lines = await exported(store)
    await keep(store, "s", user("3"))
    longer = await exported(store)
    marked = json.dumps({**json.loads(lines[1]), "feedback": {"rating": "up"}})
    other = store_at(LATER)
    await imported(other, lines)
    before = await exported(other)

    report = await imported(other, [lines[0], marked, json.dumps({**json.loads(longer[2]), **change}), longer[3]])

    assert (report.conflict, report.messages, report.changed) == (1, 0, False)
    assert report.items[0].reason == "message 2 is stored here with another content; nothing was changed"
    assert await exported(other) == before


async def test_a_message_that_was_redacted_here_stays_redacted() -> None:
    store = store_at(START)
    await keep(store, "s", user("secret"), user("2"))
    lines = await exported(store)
    await store.redact(ALICE, "s", 1)

    report = await imported(store, lines)

    assert report.unchanged == 1
    assert "secret" not in "".join(await exported(store))


async def test_a_copy_of_a_pruned_session_is_found_where_it_stands_though_its_messages_are_equal() -> None:
    store = store_at(START)
    await keep(store, "s", user("1"), system("x"), system("x"))
    await store.prune(ALICE, "s", before_seq=2)
    lines = await exported(store)
    other = store_at(LATER)
    await imported(other, lines)

    again = await imported(other, lines)
    at_home = await imported(store, lines)

    assert (again.unchanged, again.messages) == (1, 0)
    assert (at_home.unchanged, at_home.messages) == (1, 0)


async def test_feedback_on_a_redacted_message_comes_along() -> None:
    store = store_at(START)
    await keep(store, "s", user("secret"))
    await store.redact(ALICE, "s", 1)
    await store.annotate(ALICE, "s", 1, Feedback("down", "was private"))
    lines = await exported(store)
    other = store_at(LATER)
    await imported(other, lines)

    again = await imported(other, lines)

    assert again.unchanged == 1
    assert json.loads((await exported(other))[1])["feedback"] == {"rating": "down", "comment": "was private"}


async def test_a_session_in_the_trash_is_a_conflict() -> None:
    store = store_at(START)
    await keep(store, "s", user("1"))
    lines = await exported(store)
    await store.trash_session(ALICE, "s", until=LATER)

    report = await imported(store, lines)

    assert report.conflict == 1
    assert "trash" in report.items[0].reason
    assert await exported(store) == []
