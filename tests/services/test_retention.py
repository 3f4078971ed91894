from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from unittest.mock import AsyncMock

import pytest
from tests.services.conftest import ALICE, BOB, Clock, Desk, DeskMaker, until

from chatkeep.domain.errors import CorruptRecord, Unavailable
from chatkeep.domain.messages import NewMessage, ToolCall, ToolResult, assistant, tool, user
from chatkeep.domain.pages import Receipt, SessionFilter
from chatkeep.domain.policies import AGENT, KEEP, PLATFORM, RetentionPolicies, RetentionPolicy
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import SessionPatch
from chatkeep.models.echo import EchoModel
from chatkeep.services import retention
from chatkeep.services.chat import ChatRequest
from chatkeep.services.retention import CleanupReport, Janitor, RetentionService
from chatkeep.stores.memory import MemoryStore


def under(desk: Desk, policy: RetentionPolicy, **by_app: RetentionPolicy) -> RetentionService:
    return RetentionService(desk.store, desk.store, desk.clock, RetentionPolicies(policy, by_app))


async def keep(desk: Desk, session_id: str, *messages: NewMessage, scope: Scope = ALICE) -> None:
    for at in range(0, len(messages), 100):
        await desk.history.append(scope, session_id, messages[at : at + 100], create=True)


async def seqs(desk: Desk, session_id: str = "s") -> list[int]:
    return [entry.seq for entry in await desk.history.read(ALICE, session_id, newest_first=False, limit=1_000)]


async def listed(desk: Desk, scope: Scope = ALICE) -> set[str]:
    return {session.id for session in (await desk.sessions.list(scope, SessionFilter(), limit=200)).items}


def turns(count: int) -> list[NewMessage]:
    return [message for n in range(count) for message in (user(f"q{n}"), assistant(f"a{n}"))]


async def test_by_default_nothing_ever_goes(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await keep(desk, "s", *turns(300))
    clock.advance(days=3_650)

    report = await under(desk, KEEP).cleanup()

    assert (await desk.sessions.get(ALICE, "s")).message_count == 600
    assert (report.purged_sessions, report.trashed_sessions, report.pruned_messages) == (0, 0, 0)
    assert report.finished


@pytest.mark.parametrize(
    ("most", "kept"), [(4, [7, 8, 9, 10]), (5, [7, 8, 9, 10]), (1, [9, 10]), (10, [*range(1, 11)])]
)
async def test_the_oldest_whole_turns_go_beyond_the_bound(desks: DeskMaker, most: int, kept: list[int]) -> None:
    desk = desks()
    await keep(desk, "s", *turns(5))

    report = await under(desk, RetentionPolicy(max_messages=most)).cleanup()

    assert await seqs(desk) == kept
    assert report.pruned_messages == 10 - len(kept)


async def test_a_second_cleanup_has_nothing_to_do(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, "s", *turns(5))
    service = under(desk, RetentionPolicy(max_messages=4))
    await service.cleanup()
    version = await desk.store.scope_version(ALICE)

    report = await service.cleanup()

    assert (report.pruned_messages, await desk.store.scope_version(ALICE)) == (0, version)


async def test_a_tool_call_is_never_parted_from_its_result(desks: DeskMaker) -> None:
    desk = desks()
    call, result = assistant(ToolCall("c", "look", {})), tool(ToolResult("c", "x", is_error=False))
    await keep(desk, "s", user("1"), call, user("3, meanwhile"), result, assistant("5"), user("6"), assistant("7"))

    await under(desk, RetentionPolicy(max_messages=5)).cleanup()

    assert await seqs(desk) == [6, 7]


async def test_a_tool_pair_across_the_end_of_what_is_read_stays_whole(
    desks: DeskMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_READ_STEP", 5)
    desk = desks()
    call, result = assistant(ToolCall("c", "look", {})), tool(ToolResult("c", "x", is_error=False))
    await keep(desk, "s", *turns(2), user("5"), call, user("7"), user("8"), result, *turns(2))

    await under(desk, RetentionPolicy(max_messages=7)).cleanup()

    assert await seqs(desk) == [10, 11, 12, 13]


async def test_a_turn_longer_than_the_bound_stays_while_it_is_the_newest(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, "s", *turns(2), user("go"), *[assistant(f"step {n}") for n in range(20)])

    await under(desk, RetentionPolicy(max_messages=10)).cleanup()

    assert await seqs(desk) == list(range(5, 26))


async def test_a_turn_longer_than_one_read_goes_when_it_is_old(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, "s", user("go"), *[assistant(f"step {n}") for n in range(1_500)], *turns(2))

    await under(desk, AGENT).cleanup()

    assert await seqs(desk) == [1502, 1503, 1504, 1505]


async def test_only_the_active_path_is_counted(desks: DeskMaker) -> None:
    desk = desks()
    await keep(desk, "s", *turns(3))
    await desk.history.append(ALICE, "s", [user("other")], parent_seq=2)

    report = await under(desk, RetentionPolicy(max_messages=4)).cleanup()

    assert report.pruned_messages == 0
    assert await seqs(desk) == [1, 2, 7]


async def test_old_turns_go_by_age_and_a_turn_with_a_young_message_stays_whole(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await keep(desk, "s", *turns(2))
    await keep(desk, "s", user("5"))
    clock.advance(days=40)
    await keep(desk, "s", assistant("6"), *turns(1))

    report = await under(desk, RetentionPolicy(max_age=timedelta(days=30))).cleanup()

    assert await seqs(desk) == [5, 6, 7, 8]
    assert report.pruned_messages == 4


async def test_when_all_messages_are_too_old_none_stays_and_the_seqs_go_on(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await keep(desk, "s", *turns(2))
    clock.advance(days=31)

    await under(desk, RetentionPolicy(max_age=timedelta(days=30))).cleanup()

    assert await seqs(desk) == []
    await keep(desk, "s", user("new"))
    assert await seqs(desk) == [5]


async def test_age_reaches_beyond_one_read(desks: DeskMaker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_READ_STEP", 7)
    desk = desks()
    await keep(desk, "s", user("go"), *[assistant(f"step {n}") for n in range(30)], *turns(2))
    clock.advance(days=31)
    await keep(desk, "s", *turns(1))

    await under(desk, RetentionPolicy(max_age=timedelta(days=30))).cleanup()

    assert await seqs(desk) == [36, 37]


async def test_a_message_is_exactly_too_old_when_its_time_is_over(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await keep(desk, "s", *turns(1))
    service = under(desk, RetentionPolicy(max_age=timedelta(days=30)))

    clock.advance(days=30)
    await service.cleanup()
    kept = await seqs(desk)
    clock.advance(seconds=1)
    await service.cleanup()

    assert (kept, await seqs(desk)) == ([1, 2], [])


async def test_a_session_that_is_answering_is_not_pruned(desks: DeskMaker) -> None:
    desk = desks(EchoModel(40))
    await keep(desk, "s", *turns(5))
    await desk.chat.chat(ALICE, "s", ChatRequest(text="word " * 100))

    report = await under(desk, RetentionPolicy(max_messages=2)).cleanup()

    assert report.pruned_messages == 0


async def test_idle_sessions_are_not_found_in_time_and_purged_later_but_pinned_ones_stay(
    desks: DeskMaker, clock: Clock
) -> None:
    desk = desks()
    service = under(desk, PLATFORM)
    for session_id in ("idle", "pinned"):
        await keep(desk, session_id, user("Hi"))
    await desk.sessions.update(ALICE, "pinned", SessionPatch(state="pinned"))
    await service.cleanup()

    clock.advance(days=7)
    assert await desk.sessions.find(ALICE, "idle") is None
    report = await service.cleanup()

    assert report.purged_sessions == 1
    assert report.removed.removed["messages"] == 1
    assert await listed(desk) == {"pinned"}


async def test_a_policy_that_is_switched_off_lets_live_sessions_stay(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await keep(desk, "s", user("Hi"))
    await under(desk, PLATFORM).cleanup()
    assert (await desk.sessions.get(ALICE, "s")).expires_at == clock.now + timedelta(days=7)

    clock.advance(days=6)
    await under(desk, KEEP).cleanup()
    clock.advance(days=600)

    assert (await desk.sessions.get(ALICE, "s")).expires_at is None


async def test_a_policy_that_is_switched_on_counts_from_then(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    await keep(desk, "s", user("Hi"))
    clock.advance(days=100)

    await under(desk, PLATFORM).cleanup()

    assert (await desk.sessions.get(ALICE, "s")).expires_at == clock.now + timedelta(days=7)


async def test_a_users_oldest_sessions_go_to_the_trash_but_pinned_ones_do_not_count(
    desks: DeskMaker, clock: Clock
) -> None:
    desk = desks()
    for n in range(6):
        await keep(desk, f"s{n}", user("Hi"))
        clock.advance(seconds=1)
    await desk.sessions.update(ALICE, "s0", SessionPatch(state="pinned"))
    await desk.sessions.update(ALICE, "s5", SessionPatch(state="archived"))
    await keep(desk, "his", user("Hi"), scope=BOB)

    report = await under(desk, RetentionPolicy(keep_last_sessions=3)).cleanup()

    assert report.trashed_sessions == 2
    trashed = (await desk.sessions.list(ALICE, SessionFilter(state="trashed"))).items
    assert {session.id for session in trashed} == {"s1", "s2"}
    assert (await desk.sessions.restore(ALICE, "s1")).id == "s1"
    assert await listed(desk, BOB) == {"his"}


async def test_each_app_has_its_own_policy(desks: DeskMaker) -> None:
    desk = desks()
    other = Scope("default", "other", "alice")
    await keep(desk, "s", *turns(5))
    await keep(desk, "s", *turns(5), scope=other)

    await under(desk, KEEP, other=RetentionPolicy(max_messages=2)).cleanup()

    assert (await desk.sessions.get(ALICE, "s")).message_count == 10
    assert (await desk.sessions.get(other, "s")).message_count == 2


async def test_bounded_cleanups_reach_every_scope_in_the_end(desks: DeskMaker) -> None:
    desk = desks()
    scopes = [Scope("default", "default", f"user{n}") for n in range(7)]
    for scope in scopes:
        await keep(desk, "one", *turns(3), scope=scope)
        await keep(desk, "two", *turns(3), scope=scope)
    service = under(desk, RetentionPolicy(max_messages=2))

    finished = [(await service.cleanup(most=4)).finished for _ in range(4)]

    assert finished == [False, False, False, True]
    for scope in scopes:
        assert (await desk.sessions.get(scope, "two")).message_count == 2


@pytest.mark.parametrize(("policy", "looks"), [(KEEP, [1, 1, 1]), (RetentionPolicy(max_messages=9), [1, 2, 3])])
async def test_policies_that_never_touch_a_live_session_look_at_them_once(
    desks: DeskMaker, monkeypatch: pytest.MonkeyPatch, policy: RetentionPolicy, looks: list[int]
) -> None:
    desk = desks()
    await keep(desk, "s", *turns(1))
    service = under(desk, policy)
    listing = AsyncMock(wraps=desk.store.list_sessions)
    monkeypatch.setattr(desk.store, "list_sessions", listing)
    counted = []

    for _ in range(3):
        await service.cleanup()
        counted.append(listing.await_count)

    assert counted == looks


async def test_progress_is_told_and_grows(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    for n in range(3):
        await keep(desk, f"s{n}", *turns(5))
        await desk.sessions.delete(ALICE, f"s{n}")
    clock.advance(days=8)
    told: list[int] = []

    def tell(report: CleanupReport) -> None:
        told.append(report.purged_sessions)

    report = await under(desk, KEEP).cleanup(progress=tell)

    assert told[:3] == [1, 2, 3]
    assert report.removed.removed["messages"] == 30


async def test_a_purge_stops_at_its_bound(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    for n in range(250):
        await desk.sessions.create(ALICE, f"s{n}")
        await desk.sessions.delete(ALICE, f"s{n}")
    clock.advance(days=8)

    first = await under(desk, KEEP).cleanup(most=150)
    second = await under(desk, KEEP).cleanup(most=150)

    assert (first.purged_sessions, first.finished) == (200, False)
    assert (second.purged_sessions, second.finished) == (50, True)


async def test_two_cleaners_at_once_do_no_harm(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    for n in range(20):
        await keep(desk, f"s{n}", *turns(5))
        clock.advance(seconds=1)
    policy = RetentionPolicy(max_messages=4, keep_last_sessions=5)

    reports = await asyncio.gather(*[under(desk, policy).cleanup() for _ in range(3)])

    assert len(await listed(desk)) == 5
    assert sum(report.purged_sessions for report in reports) == 0


async def test_the_events_of_runs_go_after_their_time(desks: DeskMaker, clock: Clock) -> None:
    desk = desks()
    run = await desk.chat.chat(ALICE, "s", ChatRequest(text="Hi"))
    await desk.collect(run.id)
    service = under(desk, KEEP)

    early = await service.cleanup()
    clock.advance(hours=2)
    late = await service.cleanup()

    assert early.swept_rows == 0
    assert late.swept_rows > 0
    assert (await desk.chat.get(ALICE, run.id)).status == "complete"
    assert [status for _, status, _ in await desk.texts("s")] == ["complete", "complete"]


class Spoilt(MemoryStore):
    """A store in which one gone session has a record that cannot be read."""

    async def purge_gone(self, scope: Scope, session_id: str, incarnation: str) -> Receipt:
        if session_id == "spoilt":
            raise CorruptRecord("spoilt")
        return await super().purge_gone(scope, session_id, incarnation)


async def test_a_record_that_cannot_be_read_does_not_stop_the_cleanup(clock: Clock) -> None:
    desk = Desk(Spoilt(clock), clock, EchoModel(0))
    for session_id in ("spoilt", "other"):
        await keep(desk, session_id, user("Hi"))
        await desk.sessions.delete(ALICE, session_id)
    await keep(desk, "s", *turns(5))
    clock.advance(days=8)

    report = await under(desk, RetentionPolicy(max_messages=2)).cleanup()

    assert (report.purged_sessions, report.pruned_messages, report.finished) == (1, 8, False)


class Limping(MemoryStore):
    """A store whose maintenance fails a few times, each time in another way."""

    def __init__(self, clock: Clock, *errors: Exception) -> None:
        super().__init__(clock)
        self.errors = list(errors)

    async def expired_runs(self, *, limit: int = 100) -> Sequence[tuple[Scope, str]]:
        if self.errors:
            raise self.errors.pop(0)
        return await super().expired_runs(limit=limit)


async def test_the_janitor_survives_every_fault_and_ends_runs_without_an_owner(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention, "RUN_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(retention, "_LONGEST_PAUSE_SECONDS", 0.02)
    store = Limping(clock, Unavailable("away"), RuntimeError("a bug"))
    dead, alive = Desk(store, clock, EchoModel(40)), Desk(store, clock, EchoModel(0))
    run = await dead.chat.chat(ALICE, "s", ChatRequest(text="word " * 100))
    dead.crash()
    clock.advance(seconds=16)
    janitor = Janitor(under(alive, KEEP), store, alive.chat.pick_up, every=60)

    work = asyncio.create_task(janitor.work())
    await until(lambda: bool(alive.ended))
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work

    assert [(ended.id, ended.status) for ended in alive.ended] == [(run.id, "interrupted")]
    assert "a bug" in caplog.text
