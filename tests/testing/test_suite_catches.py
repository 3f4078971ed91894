"""Negative controls: stores with one flaw each, of kinds that real engines have had, fail the suite and the machine."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from chatkeep.domain.errors import ChatkeepError
from chatkeep.domain.messages import Message, Unreadable
from chatkeep.domain.pages import Page, Receipt, SessionFilter, SessionPosition
from chatkeep.domain.runs import RunEvent, RunSignal
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, is_gone, pruned
from chatkeep.ports.store import Appended, State
from chatkeep.stores.memory import MemoryStore
from chatkeep.stores.memory.tables import Shelf
from chatkeep.testing import FakeClock, MemoryHarness, StoreContract, StoreHarness
from chatkeep.testing.contract.isolation import CALLS, MAKING
from chatkeep.testing.machine import run_in_lockstep


class TakesSeqBeforeCommit(MemoryStore):
    """Reads the last seq, lets others run, and writes behind what it had read."""

    async def append(self, scope: Scope, session_id: str, *args: Any, **options: Any) -> Appended:
        shelf = self._present(scope, session_id)
        before = None if shelf is None else shelf.record
        await asyncio.sleep(0)
        if shelf is not None and before is not None:
            shelf.record = before
        return await super().append(scope, session_id, *args, **options)


class CommitsOutOfOrder(MemoryStore):
    """Gives seqs in order, but some become visible later than their successors."""

    late: ClassVar[set[int]] = set()

    async def append(self, scope: Scope, session_id: str, *args: Any, **options: Any) -> Appended:
        appended = await super().append(scope, session_id, *args, **options)
        written = set(range(appended.first_seq, appended.last_seq + 1))
        self.late.update(written)
        for _ in range(appended.first_seq % 3 + 1):
            await asyncio.sleep(0)
        self.late.difference_update(written)
        return appended

    async def read(self, *args: Any, **options: Any) -> Sequence[Message | Unreadable]:
        return [entry for entry in await super().read(*args, **options) if entry.seq not in self.late]


class ForgetsOldKeys(MemoryStore):
    """Remembers the latest hundred keys only."""

    async def append(self, scope: Scope, session_id: str, *args: Any, **options: Any) -> Appended:
        appended = await super().append(scope, session_id, *args, **options)
        keys = self._tables.shelves[scope][session_id].keys
        while len(keys) > 100:
            del keys[next(iter(keys))]
        return appended


class ForgetsKeysOfRedacted(MemoryStore):
    """Looks for a key among the messages that are left."""

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        message = await super().redact(scope, session_id, seq)
        keys = self._tables.shelves[scope][session_id].keys
        for name in [name for name, key in keys.items() if key.first_seq <= seq <= key.last_seq]:
            del keys[name]
        return message


def _joining(name: str) -> Callable[..., Awaitable[object]]:
    async def call(self: MemoryStore, scope: Scope, *args: Any, **options: Any) -> object:
        joined = f"{scope.tenant}:{scope.app}:{scope.user}"
        met = Scope("joined", "joined", hashlib.sha256(joined.encode()).hexdigest())
        called: object = await getattr(MemoryStore, name)(self, met, *args, **options)
        return called

    return call


class JoinsFields(MemoryStore):
    """Finds a scope by its fields joined with colons."""


for _name in CALLS.keys() | MAKING:
    setattr(JoinsFields, _name, _joining(_name))


class FoldsIds(MemoryStore):
    """Compares session ids without regard to case and trailing spaces."""

    def _present(self, scope: Scope, session_id: str) -> Shelf | None:
        shelves = self._tables.shelves.get(scope, {})
        folded = session_id.rstrip().casefold()
        same = [stored for stored in shelves if stored.rstrip().casefold() == folded]
        return super()._present(scope, same[0] if same else session_id)


class LosesAnEvent(MemoryStore):
    """Loses the third event of a batch."""

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        signal = await super().append_events(scope, run_id, events, token=token, lease=lease)
        if signal.lease_ok and len(events) > 2:
            self._tables.runs[scope][run_id].events.pop(events[2].n, None)
        return signal


class LetsZombiesWrite(MemoryStore):
    """Does not look at the token."""

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        stored = self._found(scope, run_id)
        held = token if stored is None or stored.run.status != "running" else stored.run.token
        return await super().append_events(scope, run_id, events, token=held, lease=lease)


class SortsByTime(MemoryStore):
    """Reads messages in the order of their times."""

    async def read(self, *args: Any, **options: Any) -> Sequence[Message | Unreadable]:
        entries = list(await super().read(*args, **options))
        if any(isinstance(entry, Unreadable) for entry in entries):
            return entries
        newest_first = bool(options.get("newest_first"))
        return sorted(entries, key=lambda entry: entry[5], reverse=newest_first)  # type: ignore[index]  # messages


class PruneKeepsRows(MemoryStore):
    """Says that messages are gone, and goes on showing them."""

    async def prune(self, scope: Scope, session_id: str, *, before_seq: int) -> Session:
        return pruned(self._writable(scope, session_id).record, before_seq)


class ListHides(MemoryStore):
    """Loses the last session of a full page."""

    async def list_sessions(
        self, scope: Scope, where: SessionFilter, *, limit: int, after: SessionPosition | None = None
    ) -> Page[Session, SessionPosition]:
        page = await super().list_sessions(scope, where, limit=limit, after=after)
        return Page(page.items[:-1], page.next) if len(page.items) > 1 and page.next else page


class ExpiresTooLate(MemoryStore):
    """Shows a session for a millisecond after its end."""

    def _present(self, scope: Scope, session_id: str) -> Shelf | None:
        shelf = self._open().shelves.get(scope, {}).get(session_id)
        late = self._clock() - timedelta(milliseconds=1)
        return None if shelf is None or is_gone(shelf.record, late) else shelf


class WritesStateBlindly(MemoryStore):
    """Lets the last writer win."""

    async def put_state(
        self,
        scope: Scope,
        session_id: str,
        key: str,
        value: bytes,
        *,
        expected_version: int,  # noqa: ARG002 -- that is the flaw
        incarnation: str | None = None,
    ) -> State:
        stored = await self.get_state(scope, session_id, key)
        current = 0 if stored is None else stored.version
        return await super().put_state(scope, session_id, key, value, expected_version=current, incarnation=incarnation)


class RedactsForReadersOnly(MemoryStore):
    """Marks a message as redacted, shows it empty, and keeps its content."""

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        shelf = self._writable(scope, session_id)
        kept = shelf.rows.get(seq)
        message = await super().redact(scope, session_id, seq)
        if kept is not None:
            shelf.states["redacted"] = State(kept.body, 1)
        return message


class PurgeLeavesKeys(MemoryStore):
    """Lets the next incarnation find the keys of the last."""

    kept: ClassVar[dict[tuple[Scope, str], Any]] = {}

    async def purge_session(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt:
        shelf = self._tables.shelves.get(scope, {}).get(session_id)
        if shelf is not None:
            self.kept[scope, session_id] = shelf.keys
        return await super().purge_session(scope, session_id, incarnation=incarnation)

    def _shelve(self, scope: Scope, shelf: Shelf) -> None:
        shelf.keys.update(self.kept.pop((scope, shelf.record.id), {}))
        super()._shelve(scope, shelf)


class CreatesBeforeItChecks(MemoryStore):
    """Leaves an empty session behind when an append is refused."""

    async def append(
        self, scope: Scope, session_id: str, *args: Any, create: NewSession | None = None, **options: Any
    ) -> Appended:
        if create is not None and self._present(scope, session_id) is None:
            await self.create_session(scope, session_id, create)
        return await super().append(scope, session_id, *args, create=create, **options)


class ClosesByHalf(MemoryStore):
    """Answers after it was closed."""

    async def close(self) -> None:
        return


class LosesStatesBesideAppends(MemoryStore):
    """Loses what is kept beside the messages when a session that has some grows."""

    async def append(self, scope: Scope, session_id: str, *args: Any, **options: Any) -> Appended:
        appended = await super().append(scope, session_id, *args, **options)
        if appended.first_seq > 1 and not appended.repeated:
            self._tables.shelves[scope][session_id].states.clear()
        return appended


class LosesStatesBesideRedactions(MemoryStore):
    """Loses it when a message is redacted."""

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        message = await super().redact(scope, session_id, seq)
        self._tables.shelves[scope][session_id].states.clear()
        return message


UNLIKELY = [LosesStatesBesideAppends, LosesStatesBesideRedactions]
"""Flaws beside what a call is about, where the state machine does not look at once."""

FLAWS: list[tuple[type[MemoryStore], str, dict[str, Any]]] = [
    (
        TakesSeqBeforeCommit,
        "test_racing_appends_are_gapless_ordered_and_never_seen_below_one_already_seen",
        {"handles": 1},
    ),
    (
        CommitsOutOfOrder,
        "test_racing_appends_are_gapless_ordered_and_never_seen_below_one_already_seen",
        {"handles": 4},
    ),
    (ForgetsOldKeys, "test_the_latest_keys_are_remembered_whatever_is_pruned_redacted_or_cleared", {}),
    (ForgetsKeysOfRedacted, "test_a_key_is_known_after_its_message_was_redacted", {}),
    (JoinsFields, "test_no_two_neighbours_meet", {}),
    (FoldsIds, "test_any_text_is_an_id_of_its_own", {}),
    (LosesAnEvent, "test_they_are_stored_in_order_and_read_in_pages", {}),
    (LetsZombiesWrite, "test_a_zombie_can_write_nothing", {}),
    (SortsByTime, "test_times_to_the_microsecond_and_without_order", {}),
    (PruneKeepsRows, "test_everything_below_is_gone_for_every_read", {}),
    (ListHides, "test_pages_of_any_size_show_everything_once_in_order", {"limit": 3}),
    (ExpiresTooLate, "test_an_expired_session_is_found_by_no_call_from_the_exact_moment_on", {}),
    (WritesStateBlindly, "test_one_of_many_racing_writers_wins_each_version", {}),
    (RedactsForReadersOnly, "test_a_redaction_removes_content_and_feedback_and_keeps_the_place", {}),
    (PurgeLeavesKeys, "test_the_next_incarnation_sees_nothing", {}),
    (CreatesBeforeItChecks, "test_a_refused_append_creates_no_session", {}),
    (ClosesByHalf, "test_a_closed_store_is_unavailable_for_every_call", {}),
]

UNSEEN_IN_STEP = {TakesSeqBeforeCommit, CommitsOutOfOrder, ForgetsOldKeys, RedactsForReadersOnly, ClosesByHalf}
"""Flaws that show only in races, after many calls, behind the store's back, or at its end: the suite's business."""


async def run(engine: type[MemoryStore], name: str, arguments: dict[str, Any]) -> None:
    """Run one test of the suite on an engine, with fixtures as the suite gives them."""
    clock = FakeClock()
    harness = MemoryHarness(engine)
    stores = {"store": await harness.open(clock), "second_store": await harness.open(clock)}
    given = {"clock": clock, "harness": harness, **stores, **arguments}
    test = getattr(StoreContract(), name)
    await test(**{parameter: given[parameter] for parameter in inspect.signature(test).parameters})


@pytest.mark.parametrize(("engine", "name", "arguments"), FLAWS)
async def test_the_suite_catches_the_flaw_and_nothing_else(
    engine: type[MemoryStore], name: str, arguments: dict[str, Any]
) -> None:
    await run(MemoryStore, name, arguments)

    with pytest.raises((AssertionError, ChatkeepError, KeyError, pytest.fail.Exception)):
        await run(engine, name, arguments)


@pytest.mark.parametrize("engine", [*(engine for engine, _, _ in FLAWS if engine not in UNSEEN_IN_STEP), *UNLIKELY])
def test_the_state_machine_catches_the_flaw(engine: type[MemoryStore]) -> None:
    @asynccontextmanager
    async def open_harness() -> AsyncIterator[StoreHarness]:
        yield MemoryHarness(engine)

    with pytest.raises((AssertionError, KeyError)):
        run_in_lockstep(open_harness, examples=200, steps=50, shrink=False)


def test_a_subclass_that_replaces_a_test_is_refused() -> None:
    with pytest.raises(TypeError, match="replaces a test"):
        type(
            "TestLazy",
            (StoreContract,),
            {"test_a_missing_session_is_none": lambda self: None},  # noqa: ARG005 -- a test method
        )


@pytest.mark.parametrize("mark", [pytest.mark.skip, pytest.mark.skipif("True", reason="lazy"), pytest.mark.xfail])
def test_a_subclass_that_is_marked_as_skipped_is_refused(mark: pytest.MarkDecorator) -> None:
    for marks in (mark, [pytest.mark.timeout(5), mark]):
        with pytest.raises(TypeError, match="may be left out"):
            type("TestLazy", (StoreContract,), {"pytestmark": marks})
