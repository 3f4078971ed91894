from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import (
    NewMessage,
    Reasoning,
    Source,
    ToolCall,
    ToolResult,
    assistant,
    tool,
    user,
)
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
from chatkeep.services.transfer import TransferService
from chatkeep.stores.memory import MemoryStore

ALICE = Scope("t", "app", "alice")
BOB = Scope("t", "app", "bob")
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


async def test_markdown_shows_the_active_path_for_people() -> None:
    store = store_at(START)
    await keep(
        store,
        "s",
        user("What is *this*?"),
        assistant(
            "An ```odd``` answer.",
            Reasoning("line\nline"),
            ToolCall("c", "look_up", {"q": "```"}),
            agent_name="Guide",
            status="partial",
            sources=(Source("A [source]", "https://example.org/a b"),),
        ),
        tool(ToolResult("c", "text")),
        user("gone"),
        title="A *title*",
    )
    await keep(store, "s", user("other branch"), parent_seq=3)
    await store.redact(ALICE, "s", 1)
    await store.select_head(ALICE, "s", 4)

    text = "".join([piece async for piece in transfer_of(store).export_markdown(ALICE, "s")])

    assert text == (
        "# A \\*title\\*\n\n2026-01-01 00:00 UTC\n\n"
        "## User · 2026-01-01 00:00 UTC\n\n*Removed.*\n\n"
        "## Guide · 2026-01-01 00:00 UTC · partial\n\nAn ```odd``` answer.\n\n> line\n> line\n\n"
        'Called `look_up`:\n\n````json\n{\n  "q": "```"\n}\n````\n\n'
        "Sources:\n\n- [A \\[source\\]](<https://example.org/ab>)\n\n"
        "## Tool · 2026-01-01 00:00 UTC\n\nResult:\n\n```\ntext\n```\n\n"
        "## User · 2026-01-01 00:00 UTC\n\ngone\n\n"
    )
    with pytest.raises(NotFound):
        [piece async for piece in transfer_of(store).export_markdown(BOB, "s")]
