from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatkeep.domain.errors import NotFound
from chatkeep.domain.messages import (
    Content,
    Data,
    Feedback,
    File,
    Foreign,
    Message,
    NewMessage,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    assistant,
    user,
)
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.policies import RetentionPolicies, RetentionPolicy
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession
from chatkeep.services.arrivals import arrived_at
from chatkeep.services.retention import RetentionService
from chatkeep.services.transfer import ImportProgress, ImportReport, TransferService
from chatkeep.stores.memory import MemoryStore, Tables

ALICE = Scope("t", "app", "alice")
BOB = Scope("t", "app", "bob")
START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=365)

EVERY_PART: tuple[Part, ...] = (
    Text("Wörter\n\u2028 und \x01 mehr"),
    ToolCall("c1", "search", {"q": [1, 1.0, True, None]}),
    ToolResult("c1", "found", is_error=True),
    File("image/png", url="https://example.org/a.png", name="a.png"),
    File("text/plain", sha256="0" * 64),
    Reasoning("hm"),
    Data("chart", {"z": 1, "a": 2}),
    Foreign("openai.responses", '{"raw": "by\\u0074e for byte", "n": 1.0}'),
    Foreign("openai.responses", {"z": 1, "a": "\ud800", "n": 1.50, "i": 10**30}),
)
EVERYTHING = Content(
    parts=EVERY_PART,
    agent_name="Guide",
    model="m",
    finish_reason="stop",
    usage=Usage(1, 2, None),
    duration_ms=5,
    sources=(Source("A source", "https://example.org", "text", 0.5),),
    suggestions=("And?",),
    query_summary="summary",
    run_id="r",
    error="e",
    metadata={"b": 1, "a": {"x": [1.0]}},
)


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


def comparable(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the lines say but for what the receiving store gives: message ids, `pinned_at`, seqs from 1 on."""
    said: list[dict[str, Any]] = []
    shift = 0
    for line in lines:
        value = json.loads(line)
        value.pop("id" if value["kind"] == "message" else "pinned_at", None)
        if value["kind"] == "session":
            shift = value["first_seq"] - 1
            value["first_seq"] = 1
        for name in ("head_seq", "last_seq", "seq", "parent_seq"):
            if name in value:
                value[name] = max(0, value[name] - shift)
        said.append(value)
    return said


async def filled() -> MemoryStore:
    """Return a store with a session of everything, one with branches, an archived one and an empty one."""
    store = store_at(START)
    await keep(
        store,
        "everything",
        NewMessage("user", EVERYTHING, created_at=START - timedelta(days=3)),
        NewMessage("assistant", EVERYTHING, "interrupted"),
        user("to be removed"),
        title="Title",
        title_source="user",
        state="pinned",
        metadata={"b": 1, "a": [None, 1.0]},
        created_at=START - timedelta(days=9),
    )
    await store.annotate(ALICE, "everything", 2, Feedback("down", "Warum?"))
    await store.redact(ALICE, "everything", 3)
    await keep(store, "branches", user("q"), assistant("a"), user("q2"), assistant("a2"))
    await keep(store, "branches", assistant("a again"), user("q2 again"), parent_seq=1)
    await keep(store, "branches", user("another beginning"), parent_seq=0)
    await store.select_head(ALICE, "branches", 4)
    await keep(store, "archived", user("x"), state="archived")
    await store.create_session(ALICE, "empty", NewSession(title="Nothing yet"))
    return store


async def test_what_is_exported_comes_back_equal() -> None:
    lines = await exported(await filled())
    other = store_at(LATER)

    report = await imported(other, lines)

    assert (report.created, report.messages, report.sessions) == (4, 11, 4)
    assert comparable(await exported(other)) == comparable(lines)
    entry = (await other.read(ALICE, "everything", limit=1))[0]
    assert isinstance(entry, Message)
    assert entry.content == EVERYTHING
    assert entry.parts[7] == EVERY_PART[7]


async def test_a_second_import_changes_nothing_and_says_so() -> None:
    lines = await exported(await filled())
    other = store_at(LATER)
    await imported(other, lines)
    version = await other.scope_version(ALICE)

    report = await imported(other, lines)

    assert not report.changed
    assert (report.unchanged, report.sessions, report.messages) == (4, 4, 0)
    assert await other.scope_version(ALICE) == version


async def test_an_import_into_the_store_of_the_export_changes_nothing() -> None:
    store = await filled()
    await store.prune(ALICE, "branches", before_seq=3)
    lines = await exported(store)
    version = await store.scope_version(ALICE)

    report = await imported(store, lines)

    assert report.unchanged == report.sessions == 4
    assert await store.scope_version(ALICE) == version


async def test_an_import_that_is_cut_anywhere_is_completed_by_the_whole() -> None:
    lines = await exported(await filled())
    for cut in range(len(lines)):
        other = store_at(LATER)
        await imported(other, lines[:cut])

        await imported(other, lines)

        assert comparable(await exported(other)) == comparable(lines)
        assert (await imported(other, lines)).unchanged == 4


async def test_an_input_that_ends_early_is_told() -> None:
    store = store_at(START)
    await keep(store, "s", user("1"), user("2"))
    lines = await exported(store)

    report = await imported(store_at(LATER), lines[:-1])

    assert report.items[0].reason == "the input ends before message 2"
    assert report.items[0].outcome == "created"


class CrashingStore(MemoryStore):
    """Fails for good at the write number `calls`."""

    def __init__(self, tables: Tables, calls: int) -> None:
        super().__init__(Clock(LATER), tables=tables)
        self._calls = calls

    def __getattribute__(self, name: str) -> Any:
        if name in {"ensure_session", "append", "annotate", "redact", "select_head", "put_state"}:
            if self._calls == 0:
                raise InterruptedError
            self._calls -= 1
        return super().__getattribute__(name)


async def test_an_import_that_is_killed_at_any_write_is_completed_by_the_next() -> None:
    lines = await exported(await filled())
    kills = 0
    for calls in range(30):
        tables = Tables()
        try:
            await imported(CrashingStore(tables, calls), lines)
        except InterruptedError:
            kills += 1
        other = MemoryStore(Clock(LATER), tables=tables)

        await imported(other, lines)

        assert comparable(await exported(other)) == comparable(lines)
    assert 10 < kills < 30


async def test_a_branch_that_was_chosen_here_stays_chosen() -> None:
    other = store_at(LATER)
    lines = await exported(await filled())
    await imported(other, lines)
    await other.select_head(ALICE, "branches", 6)

    report = await imported(other, lines)

    assert report.unchanged == 4
    session = await other.find_session(ALICE, "branches")
    assert session is not None
    assert session.head_seq == 6


async def test_a_dry_run_tells_the_same_and_writes_nothing() -> None:
    lines = await exported(await filled())
    other = store_at(LATER)
    await imported(other, lines[:3])
    version = await other.scope_version(ALICE)

    rehearsed = await imported(other, lines, dry_run=True)
    assert await other.scope_version(ALICE) == version
    done = await imported(other, lines)

    assert (rehearsed.items, rehearsed.messages) == (done.items, done.messages)
    assert (rehearsed.dry_run, done.dry_run) == (True, False)


async def test_retention_counts_from_the_import() -> None:
    store = store_at(START)
    await keep(store, "s", user("old", created_at=START - timedelta(days=900)))
    other = store_at(LATER)

    await transfer_of(other, idle_ttl=timedelta(days=7)).import_lines(ALICE, await exported(store))

    session = await other.find_session(ALICE, "s")
    assert session is not None
    assert (session.modified_at, session.expires_at) == (START, LATER + timedelta(days=7))
    assert await arrived_at(other, ALICE, "s") == LATER


async def test_old_messages_are_pruned_only_once_they_are_old_here() -> None:
    clock = Clock(LATER)
    store = MemoryStore(clock)
    lines = [json.dumps({"role": "user", "content": f"{at}", "created_at": "2020-01-01"}) for at in range(4)]
    policies = RetentionPolicies(RetentionPolicy(max_age=timedelta(days=30)))
    retention = RetentionService(store, store, clock, policies)
    await transfer_of(store).import_lines(ALICE, lines, session_id="s")

    clock.now += timedelta(days=30)
    early = await retention.cleanup()
    clock.now += timedelta(seconds=1)
    late = await retention.cleanup()

    assert (early.pruned_messages, late.pruned_messages) == (0, 4)


async def test_a_malformed_line_ends_its_session_and_the_others_go_on() -> None:
    store = store_at(START)
    await keep(store, "a", user("1"), user("2"), user("3"))
    await keep(store, "b", user("1"))
    a, b = await exported(store, ["a"]), await exported(store, ["b"])
    other = store_at(LATER)

    report = await imported(other, [*a[:2], "{broken", *a[3:], "", *b])

    assert (report.invalid, report.created, report.messages) == (1, 1, 2)
    assert report.items[0].reason.startswith("line 3: not JSON")
    repaired = await imported(other, [*a, *b])
    assert (repaired.continued, repaired.unchanged, repaired.messages) == (1, 1, 2)
    assert comparable(await exported(other)) == comparable(await exported(store))


async def test_messages_below_an_unusable_session_line_are_passed_over() -> None:
    store = store_at(START)
    await keep(store, "a", user("1"), user("2"))
    lines = await exported(store)
    broken = lines[0].replace('"version":1', '"version":9')

    report = await imported(store_at(LATER), [broken, *lines[1:]])

    assert (report.invalid, report.sessions, report.messages) == (1, 1, 0)
    assert report.items[0].session_id == "a"


async def test_an_unreadable_message_leaves_a_gap_that_an_import_closes() -> None:
    tables = Tables()
    store = MemoryStore(Clock(START), tables=tables)
    await keep(store, "s", user("1"), assistant("2"), user("3"))
    rows = tables.shelves[ALICE]["s"].rows
    rows[2] = rows[2]._replace(body=b"Xgarbage")
    lines = await exported(store)
    other = store_at(LATER)

    report = await imported(other, lines)

    assert report.messages == 2
    read = await other.read(ALICE, "s", limit=9)
    assert [(entry.seq, entry.parent_seq, entry.text) for entry in read if isinstance(entry, Message)] == [
        (1, 0, "1"),
        (2, 1, "3"),
    ]
    assert (await imported(other, lines)).unchanged == 1
    assert (await imported(store, lines)).unchanged == 1


async def test_an_export_holds_what_is_listed_and_the_caller_owns() -> None:
    store = store_at(START)
    await keep(store, "mine", user("1"))
    await keep(store, "hidden", user("1"), hidden=HIDDEN_UNTIL_REVEAL)
    await keep(store, "trashed", user("1"))
    await store.trash_session(ALICE, "trashed", until=LATER)
    await store.create_session(BOB, "bobs", NewSession())

    lines = await exported(store)

    assert {json.loads(line).get("session_id") for line in lines[1:]} == {"mine"}
    for missing in ("trashed", "bobs", "never"):
        with pytest.raises(NotFound):
            await exported(store, [missing])


async def test_a_session_that_moves_while_it_waits_for_its_export_is_not_left_out() -> None:
    store = store_at(START)
    names = [f"s{at:03}" for at in range(401)]
    for name in names:
        await store.create_session(ALICE, name, NewSession(created_at=START - timedelta(days=1)))
    found: list[str] = []

    async for line in transfer_of(store).export(ALICE):
        value = json.loads(line)
        if value["kind"] == "session":
            found.append(value["id"])
        if len(found) == 10 and found[-1] == value["id"]:
            await keep(store, "s000", user("written to, and so at the top of the list"))

    assert sorted(found) == names


async def test_lines_may_come_from_an_async_source_and_progress_is_told() -> None:
    told: list[ImportProgress] = []

    async def lines() -> AsyncIterator[str]:
        for at in range(600):
            yield json.dumps({"role": "user", "content": f"m{at}"})

    store = store_at(LATER)
    report = await transfer_of(store).import_lines(ALICE, lines(), progress=told.append)

    assert report.messages == 600
    assert [(step.lines, step.messages) for step in told] == [(500, 400), (600, 600)]
    assert told[1].item == report.items[0]


async def test_everything_is_listed_after_an_import() -> None:
    other = store_at(LATER)

    await imported(other, await exported(await filled()))

    listed = await other.list_sessions(ALICE, SessionFilter(include_archived=True), limit=10)
    assert listed.items[0].id == "everything"
    assert len(listed.items) == 4
