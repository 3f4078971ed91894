from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatkeep.domain.messages import (
    Message,
)
from chatkeep.domain.scope import Scope
from chatkeep.services.jsonl import MAX_LINE_BYTES
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


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "not a JSON object"),
        ("{}", "neither a session nor a message"),
        ('{"kind": "session", "id": ""}', "must not be empty"),
        ('{"kind": "session", "id": 7}', "must be text"),
        ('{"kind": "session", "id": "s", "version": 2}', "version 2"),
        ('{"kind": "session", "id": "s", "state": "trashed"}', "unknown state"),
        ('{"kind": "session", "id": "s", "metadata": []}', "must be an object"),
        ('{"kind": "session", "id": "s", "metadata": {"a": NaN}}', "JSON cannot"),
        ('{"kind": "session", "id": "s", "title": "' + "x" * 201 + '"}', "the limit is 200"),
        ('{"kind": "session", "id": "s", "created_at": "soon"}', "is no time"),
        ('{"kind": "message", "session_id": "s", "seq": 1, "role": "user"}', "below the line of its session"),
        ('{"kind": "message", "session_id": "s", "seq": 2, "parent_seq": 2, "role": "user"}', "cannot stand below"),
        ('{"kind": "message", "session_id": "s", "seq": true, "role": "user"}', "whole number"),
        ('{"kind": "message", "session_id": "s", "seq": 1, "role": "user", "colour": 1}', "no field 'colour'"),
        (
            '{"kind": "message", "session_id": "s", "seq": 1, "role": "user", "redacted": true, "model": "m"}',
            "redacted",
        ),
        ('{"kind": "message", "session_id": "s", "seq": 1, "role": "user", "feedback": {"rating": "ok"}}', "rating"),
        ('{"role": "user"}', "one of content, text and parts"),
        ('{"role": "robot", "content": "x"}', "unknown role"),
        ('{"role": "user", "content": "\\ud800"}', "lone surrogate"),
        ('{"role": "user", "content": 5}', "list of objects"),
        ('{"role": "user", "parts": [{"type": "text", "text": 5}]}', "wrong type"),
        ('{"role": "user", "parts": [{"type": "tool_result", "id": "c", "content": 1, "is_error": 1}]}', "wrong type"),
        ('{"role": "user", "parts": [{"type": "video"}]}', "unknown part type"),
        ('{"role": "user", "content": "x", "sources": [{"title": "t", "score": "high"}]}', "wrong type"),
        ('{"role": "user", "content": "x", "suggestions": "no"}', "list of texts"),
        ('{"role": "user", "content": "x", "created_at": 1e40}', "is no time"),
        ('{"role": "user", "content": "' + "x" * 300_000 + '"}', "the limit is 262144"),
        (" " + "x" * MAX_LINE_BYTES, "the limit is 2097152"),
        ("[" * 100_000, "not JSON"),
    ],
)
async def test_an_unusable_line_is_reported_with_its_reason(line: str, reason: str) -> None:
    store = store_at(START)

    report = await imported(store, ["", line])

    assert (report.invalid, report.sessions) == (1, 1)
    assert report.items[0].reason.startswith("line 2: ")
    assert reason in report.items[0].reason
    assert await exported(store) == []


async def test_a_plain_conversation_becomes_a_session() -> None:
    lines = [
        '{"role": "user", "content": "Where is my refund? It has been two weeks and nothing came.", "name": "Ann"}',
        '{"role": "assistant", "text": "On its way.", "created_at": "2025-06-01T10:00:00+02:00"}',
        '{"role": "user", "parts": [{"type": "text", "text": "Thanks"}], "created_at": 1750000000}',
    ]
    store = store_at(LATER)

    report = await imported(store, lines)
    again = await imported(store, lines)

    assert (report.created, report.messages, again.unchanged) == (1, 3, 1)
    session = await store.find_session(ALICE, report.items[0].session_id or "")
    assert session is not None
    assert session.title == "Where is my refund? It has been two weeks and…"
    read = [entry for entry in await store.read(ALICE, session.id, limit=9) if isinstance(entry, Message)]
    assert [entry.text for entry in read][1:] == ["On its way.", "Thanks"]
    assert read[0].metadata == {"name": "Ann"}
    assert read[1].created_at == datetime(2025, 6, 1, 8, tzinfo=UTC)


async def test_plain_messages_go_to_the_session_they_name() -> None:
    store = store_at(LATER)
    lines = [
        '{"kind": "session", "id": "named", "title": "T"}',
        '{"role": "user", "content": "1"}',
        '{"session_id": "x", "role": "user", "content": "2"}',
        '{"session_id": "x", "role": "assistant", "content": "3"}',
        '{"session_id": "named", "role": "user", "content": "1"}',
    ]

    report = await imported(store, lines)
    given = await imported(store, ['{"role": "user", "content": "hi"}'], session_id="given")

    assert [(item.session_id, item.outcome, item.messages_added) for item in report.items] == [
        ("named", "created", 1),
        ("x", "created", 2),
        ("named", "invalid", 0),
    ]
    assert given.items[0].session_id == "given"
