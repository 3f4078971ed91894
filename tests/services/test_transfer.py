from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from typing_extensions import override

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
    tool,
    user,
)
from chatkeep.domain.pages import SessionFilter
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import HIDDEN_UNTIL_REVEAL, NewSession, SessionPatch
from chatkeep.services.arrivals import arrived_at
from chatkeep.services.jsonl import MAX_LINE_BYTES
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

    @override
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


async def test_a_session_in_the_trash_is_a_conflict() -> None:
    store = store_at(START)
    await keep(store, "s", user("1"))
    lines = await exported(store)
    await store.trash_session(ALICE, "s", until=LATER)

    report = await imported(store, lines)

    assert report.conflict == 1
    assert "trash" in report.items[0].reason
    assert await exported(store) == []


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


async def test_messages_below_an_unusable_session_line_are_passed_over() -> None:
    store = store_at(START)
    await keep(store, "a", user("1"), user("2"))
    lines = await exported(store)
    broken = lines[0].replace('"version":1', '"version":9')

    report = await imported(store_at(LATER), [broken, *lines[1:]])

    assert (report.invalid, report.sessions, report.messages) == (1, 1, 0)
    assert report.items[0].session_id == "a"


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
PARTS = st.one_of(
    st.builds(Text, st.text(max_size=20)),
    st.builds(ToolCall, st.text(max_size=3), st.text(max_size=3), JSON),
    st.builds(ToolResult, st.text(max_size=3), JSON, st.booleans()),
    st.builds(Data, st.text(max_size=3), JSON),
    st.builds(Foreign, st.just("other"), JSON),
)
MESSAGES = st.builds(
    NewMessage,
    st.sampled_from(["user", "assistant", "system", "tool"]),
    st.builds(lambda parts: Content(parts=tuple(parts)), st.lists(PARTS, max_size=3)),
    st.sampled_from(["complete", "partial", "cancelled", "failed", "interrupted"]),
    st.none() | st.integers(-(10**6), 10**6).map(lambda us: START + timedelta(microseconds=us)),
)
NUMBERS = st.integers(min_value=0, max_value=30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(MESSAGES, min_size=1, max_size=4)),
        st.tuples(st.just("branch"), st.tuples(NUMBERS, st.lists(MESSAGES, min_size=1, max_size=3))),
        st.tuples(st.just("head"), NUMBERS),
        st.tuples(st.just("redact"), NUMBERS),
        st.tuples(st.just("annotate"), NUMBERS),
        st.tuples(st.just("prune"), NUMBERS),
    ),
    max_size=12,
)


async def played(steps: Sequence[tuple[str, Any]]) -> MemoryStore:
    """Return a store in which the session `s` has gone through the steps that were possible."""
    store = store_at(START)
    session = await store.create_session(ALICE, "s", NewSession(title="t", metadata={"k": 1}))
    for step, argument in steps:
        present = range(session.first_seq, session.last_seq + 1)
        seq = argument[0] if step == "branch" else argument
        if step == "append":
            await keep(store, "s", *argument)
        elif step == "branch" and (seq == 0 or seq in present):
            await keep(store, "s", *argument[1], parent_seq=seq)
        elif step == "head" and (seq == 0 or seq in present):
            await store.select_head(ALICE, "s", seq)
        elif step == "redact" and seq in present:
            await store.redact(ALICE, "s", seq)
        elif step == "annotate" and seq in present:
            await store.annotate(ALICE, "s", seq, Feedback("up", "gut"))
        elif step == "prune" and seq in present:
            await store.prune(ALICE, "s", before_seq=seq)
        found = await store.find_session(ALICE, "s")
        assert found is not None
        session = found
    return store


@settings(max_examples=100, deadline=None)
@given(STEPS, st.integers(min_value=0, max_value=100))
def test_any_session_comes_back_equal_at_once_or_in_two_parts(steps: list[tuple[str, Any]], cut: int) -> None:
    async def run() -> None:
        store = await played(steps)
        lines = await exported(store)
        whole, parts = store_at(LATER), store_at(LATER)

        await imported(whole, lines)
        await imported(parts, lines[: cut % len(lines)])
        await imported(parts, lines)

        assert comparable(await exported(whole)) == comparable(lines)
        assert comparable(await exported(parts)) == comparable(lines)
        for target in (whole, parts, store):
            assert (await imported(target, lines)).unchanged == 1

    asyncio.run(run())


async def test_everything_is_listed_after_an_import() -> None:
    other = store_at(LATER)

    await imported(other, await exported(await filled()))

    listed = await other.list_sessions(ALICE, SessionFilter(include_archived=True), limit=10)
    assert listed.items[0].id == "everything"
    assert len(listed.items) == 4
