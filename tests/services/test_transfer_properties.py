from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings, strategies as st

from chatkeep.domain.messages import (
    Content,
    Data,
    Feedback,
    Foreign,
    NewMessage,
    Text,
    ToolCall,
    ToolResult,
)
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession
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
