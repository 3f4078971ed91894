"""Many writers at once, and callers that give up in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from chatkeep.domain.errors import Closed, SeqConflict, SessionExists
from chatkeep.domain.messages import Message
from chatkeep.domain.sessions import SessionPatch
from chatkeep.testing.calls import (
    ALICE,
    LEASE,
    NEW,
    READ_LIMIT,
    claim,
    events,
    eventually,
    found,
    listed,
    say,
    seqs,
    texts,
)
from chatkeep.testing.clock import START, FakeClock
from chatkeep.testing.harness import AnyStore, StoreHarness
from chatkeep.testing.suite import Suite

WRITERS = 20
EACH = 4


class _Closing:
    """Lets `aclosing` close a store."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    async def aclose(self) -> None:
        await self._store.close()


async def abandon(call: Awaitable[Any], turns: int, seconds: float, *, again: bool = False) -> None:
    """Start a call and cancel it after some turns of the event loop and some time; `again`, until it has ended."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    if seconds:
        await asyncio.sleep(seconds)
    task.cancel()
    while again and not task.done():
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


POINTS = [(turns, 0.0) for turns in range(12)] + [(0, n * 0.000_5) for n in range(1, 13)]
"""When calls are abandoned: early by turns of the loop, later by the clock on the wall."""


class RacingTests(Suite):
    """Concurrency."""

    @pytest.mark.parametrize("handles", [1, 4])
    async def test_racing_appends_are_gapless_ordered_and_never_seen_below_one_already_seen(
        self, harness: StoreHarness, clock: FakeClock, handles: int
    ) -> None:
        async with AsyncExitStack() as stack:
            stores = [await harness.open(clock) for _ in range(handles)]
            for store in stores:
                await stack.enter_async_context(aclosing(_Closing(store)))
            writing = asyncio.Event()
            observed: list[list[tuple[int, str]]] = [[]]

            async def write(writer: int) -> None:
                for n in range(EACH):
                    await say(stores[writer % handles], f"{writer}.{n}a", f"{writer}.{n}b", key=f"{writer} {n}")
                    await asyncio.sleep(0)

            async def watch(store: AnyStore) -> None:
                while not writing.is_set():
                    if await store.find_session(ALICE, "s") is not None:
                        entries = await store.read(ALICE, "s", limit=READ_LIMIT)
                        observed.append([(entry.seq, entry.text) for entry in entries if isinstance(entry, Message)])
                    await asyncio.sleep(0)

            watchers = [asyncio.create_task(watch(store)) for store in stores]
            await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
            writing.set()
            await asyncio.gather(*watchers)
            stored = await texts(stores[-1])
            numbers = await seqs(stores[0])

        total = WRITERS * EACH * 2
        assert numbers == list(range(1, total + 1))
        assert len(set(stored)) == total
        for writer in range(WRITERS):
            mine = [text for text in stored if text.startswith(f"{writer}.")]
            assert mine == [f"{writer}.{n}{part}" for n in range(EACH) for part in "ab"]
        for first, second in zip(stored[::2], stored[1::2], strict=True):
            assert (first[-1], second) == ("a", first[:-1] + "b")
        for seen in observed:
            assert seen == [(seq, stored[seq - 1]) for seq in range(1, len(seen) + 1)]
            assert len(seen) % 2 == 0
        assert list(harness.leaks()) == []

    async def test_racing_repeats_of_one_append_store_it_once(self, store: AnyStore, second_store: AnyStore) -> None:
        outcomes = await asyncio.gather(*(say((store, second_store)[n % 2], "a", "b", key="k") for n in range(10)))

        assert {(appended.first_seq, appended.last_seq) for appended in outcomes} == {(1, 2)}
        assert sum(not appended.repeated for appended in outcomes) == 1
        assert await texts(store) == ["a", "b"]

    async def test_one_of_many_with_the_same_expectation_wins(self, store: AnyStore, second_store: AnyStore) -> None:
        await say(store, "first")

        outcomes = await asyncio.gather(
            *(say((store, second_store)[n % 2], f"{n}", expected_last_seq=1) for n in range(10)),
            return_exceptions=True,
        )

        assert sum(isinstance(outcome, SeqConflict) for outcome in outcomes) == 9
        assert await seqs(store) == [1, 2]

    async def test_one_of_many_racing_creators_wins(self, store: AnyStore, second_store: AnyStore) -> None:
        outcomes = await asyncio.gather(
            *((store, second_store)[n % 2].create_session(ALICE, "s", NEW) for n in range(10)),
            return_exceptions=True,
        )

        assert sum(isinstance(outcome, SessionExists) for outcome in outcomes) == 9
        [session] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert await found(store) == session

    async def test_racing_ensurers_agree(self, store: AnyStore, second_store: AnyStore) -> None:
        outcomes = await asyncio.gather(
            *((store, second_store)[n % 2].ensure_session(ALICE, "s", NEW) for n in range(10))
        )

        assert sum(was_created for _, was_created in outcomes) == 1
        assert len({session.incarnation for session, _ in outcomes}) == 1

    async def test_racing_settings_and_appends_lose_nothing(self, store: AnyStore, second_store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        keys = [f"k{n}" for n in range(10)]

        await asyncio.gather(
            *(say(store, key) for key in keys),
            *(second_store.update_session(ALICE, "s", SessionPatch(title=key)) for key in keys),
            *(second_store.put_state(ALICE, "s", key, b"v", expected_version=0) for key in keys),
            claim(store, "r"),
        )

        session = await found(store)
        assert (session.revision, session.last_seq, session.active_run_id) == (11, 10, "r")
        assert sorted(await texts(store)) == sorted(keys)

    async def test_no_append_begun_after_the_trash_succeeds(self, store: AnyStore, second_store: AnyStore) -> None:
        await say(store, "first")

        async def write() -> int:
            for n in range(100):
                try:
                    await say(second_store, f"{n}", create=None)
                except Closed:
                    return n
                await asyncio.sleep(0)
            return 100

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.001)
        trashed = await store.trash_session(ALICE, "s", until=START + 100 * LEASE)
        frozen = await found(store)
        written = await writing

        assert trashed.last_seq == frozen.last_seq == written + 1
        assert (await store.restore_session(ALICE, "s")).last_seq == written + 1
        assert len(await texts(store)) == written + 1

    async def test_racing_purges_and_appends_leave_whole_sessions(
        self, store: AnyStore, second_store: AnyStore
    ) -> None:
        for n in range(10):
            await say(store, "old", key="old")
            await asyncio.gather(store.purge_session(ALICE, "s"), say(second_store, "a", "b", key="k"))
            session = await second_store.find_session(ALICE, "s")
            if session is not None:
                assert await texts(store) == ["a", "b"], n
                assert await seqs(store) == [1, 2]
                await store.purge_session(ALICE, "s")

    async def test_racing_events_of_one_owner_are_stored_once(self, store: AnyStore, second_store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        await claim(store)

        await asyncio.gather(
            *(
                (store, second_store)[n % 2].append_events(ALICE, "r", events(1, 20), token=1, lease=LEASE)
                for n in range(6)
            )
        )

        assert list(await store.read_events(ALICE, "r")) == events(1, 20)


class CancellationTests(Suite):
    """Callers that give up."""

    async def test_an_abandoned_append_is_done_or_undone_and_its_repeat_stores_it_once(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)

        for n, (turns, seconds) in enumerate(POINTS):
            await abandon(say(store, f"{n}a", f"{n}b", key=f"{n}"), turns, seconds)
            repeat = await say(store, f"{n}a", f"{n}b", key=f"{n}")
            assert (repeat.first_seq, repeat.last_seq) == (2 * n + 1, 2 * n + 2)

        assert await texts(store) == [f"{n}{part}" for n in range(len(POINTS)) for part in "ab"]

    async def test_a_call_that_is_abandoned_again_and_again_leaves_a_store_that_keeps_what_comes_next(
        self, store: AnyStore, second_store: AnyStore
    ) -> None:
        for n, (turns, seconds) in enumerate(POINTS):
            await abandon(say(store, "a", session=f"s{n}", key="k"), turns, seconds, again=True)
            await say(store, "a", session=f"s{n}", key="k")

        assert [await texts(second_store, session=f"s{n}") for n in range(len(POINTS))] == [["a"]] * len(POINTS)

    async def test_an_abandoned_append_that_creates_leaves_all_nothing_or_an_unlisted_session(
        self, store: AnyStore
    ) -> None:
        for n, (turns, seconds) in enumerate(POINTS):
            session_id = f"s{n}"
            await abandon(say(store, "a", "b", session=session_id, key="k"), turns, seconds)
            if await store.find_session(ALICE, session_id) is not None:
                left = await texts(store, session=session_id)
                assert left in ([], ["a", "b"])
                assert left or session_id not in await listed(store)
            repeat = await say(store, "a", "b", session=session_id, key="k")
            assert (repeat.first_seq, repeat.last_seq) == (1, 2)
            assert await texts(store, session=session_id) == ["a", "b"]

        everything = sorted(f"s{n}" for n in range(len(POINTS)))
        assert sorted(await eventually(lambda: listed(store), lambda seen: sorted(seen) == everything)) == everything

    @pytest.mark.parametrize("name", ["create", "update", "put_state", "claim", "trash", "purge", "prune", "finish"])
    async def test_any_other_abandoned_call_is_done_or_undone_and_can_be_repeated(
        self, store: AnyStore, name: str
    ) -> None:
        def call(session_id: str) -> Awaitable[object]:
            calls: dict[str, Callable[[], Awaitable[object]]] = {
                "create": lambda: store.ensure_session(ALICE, f"{session_id} new", NEW),
                "update": lambda: store.update_session(ALICE, session_id, SessionPatch(title="t", state="pinned")),
                "put_state": lambda: store.put_state(ALICE, session_id, "k", b"v", expected_version=0),
                "claim": lambda: claim(store, f"new {session_id}", session=session_id, queue=True),
                "trash": lambda: store.trash_session(ALICE, session_id, until=START + LEASE),
                "purge": lambda: store.purge_session(ALICE, session_id),
                "prune": lambda: store.prune(ALICE, session_id, before_seq=3),
                "finish": lambda: store.finish_run(ALICE, f"r {session_id}", "complete", token=1),
            }
            return calls[name]()

        for n, (turns, seconds) in enumerate(POINTS[::2]):
            session_id = f"s{n}"
            await say(store, "a", "b", "c", session=session_id)
            await claim(store, f"r {session_id}", session=session_id)
            before = await found(store, session_id)
            await abandon(call(session_id), turns, seconds)
            left = await store.find_session(ALICE, session_id, include_trashed=True)
            if name in ("create", "put_state"):
                assert left == before
            outcome = (await asyncio.gather(call(session_id), return_exceptions=True))[0]
            if isinstance(outcome, BaseException):
                assert type(outcome).__name__ in {"put_state": "RevisionConflict", "purge": "NotFound"}[name]
            await self._check_after(store, name, session_id)

    async def _check_after(self, store: AnyStore, name: str, session_id: str) -> None:
        """Check that the call has happened, once."""
        session = await store.find_session(ALICE, session_id, include_trashed=True)
        if name == "purge":
            assert session is None
            return
        assert session is not None
        assert session.last_seq == 3
        if name == "create":
            assert await store.find_session(ALICE, f"{session_id} new") is not None
        elif name == "update":
            assert (session.title, session.state, session.revision) == ("t", "pinned", 2)
        elif name == "put_state":
            assert await store.get_state(ALICE, session_id, "k") == (b"v", 1)
        elif name == "claim":
            assert session.queued_run_ids == (f"new {session_id}",)
            assert await store.find_run(ALICE, f"new {session_id}") is not None
        elif name == "trash":
            assert (session.state, session.revision) == ("trashed", 2)
        elif name == "prune":
            assert await seqs(store, session=session_id) == [3]
        else:
            assert session.active_run_id is None
