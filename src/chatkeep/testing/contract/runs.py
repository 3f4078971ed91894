"""Runs: who may generate, who waits, and who takes over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from chatkeep.domain.errors import Conflict, IdReused, NotFound, RunActive
from chatkeep.domain.runs import NewRun, Run, RunClaim
from chatkeep.domain.sessions import MAX_QUEUED_RUNS
from chatkeep.testing.calls import ALICE, LEASE, NEW, claim, digest, events, found, new_run, say
from chatkeep.testing.clock import START, FakeClock
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.suite import Suite

TICK = timedelta(milliseconds=1)
MINUTE = timedelta(minutes=1)


async def run_of(store: AnyStore, run_id: str = "r") -> Run:
    """Return a run that must be there."""
    run = await store.find_run(ALICE, run_id)
    assert run is not None
    return run


class ClaimTests(Suite):
    """Claims of a session's slot."""

    async def test_a_claim_starts_a_run(self, store: AnyStore) -> None:
        session = await store.create_session(ALICE, "s", NEW)
        new = NewRun(id="r", request='{"q": "\0 😀"}', digest=digest("q"), claimant="\0 😀")

        claimed = await store.claim_run(ALICE, "s", new, lease=LEASE)

        run = claimed.run
        assert not claimed.attached
        assert (run.id, run.session_id, run.status, run.token) == ("r", "s", "running", 1)
        assert (run.incarnation, run.claimant) == (session.incarnation, new.claimant)
        assert (run.request, run.digest, run.last_event) == (new.request, new.digest, 0)
        assert (run.created_at, run.finished_at, run.lease_until) == (START, None, START + LEASE)
        assert (run.cancel_requested, run.message_seq, run.error, run.is_over) == (False, None, None, False)
        assert await run_of(store) == run
        assert (await found(store)).active_run_id == "r"

    async def test_a_claim_is_neither_activity_nor_a_revision(self, store: AnyStore, clock: FakeClock) -> None:
        before = await store.create_session(ALICE, "s", NEW)
        clock.advance(TICK)

        await claim(store)

        assert await found(store) == before._replace(active_run_id="r")

    async def test_the_same_claim_again_attaches_whatever_became_of_the_run(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await store.create_session(ALICE, "s", NEW)
        run = await claim(store)
        clock.advance(TICK)

        running = await store.claim_run(ALICE, "s", new_run(claimant="other"), lease=LEASE)
        repeat = await store.claim_run(ALICE, "s", new_run(), lease=LEASE)
        ended = await store.finish_run(ALICE, "r", "failed", token=1, error="broken")
        over = await store.claim_run(ALICE, "s", new_run(claimant="other"), lease=LEASE)

        assert running == RunClaim(run, attached=True)
        assert repeat == RunClaim(run, attached=False)
        assert over == RunClaim(ended.run, attached=True)
        assert (await found(store)).active_run_id is None

    async def test_another_body_under_the_same_run_id_is_refused(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        run = await claim(store)

        with pytest.raises(IdReused):
            await store.claim_run(ALICE, "s", new_run(request="another"), lease=LEASE)

        assert await run_of(store) == run

    async def test_a_run_id_is_unique_in_its_scope(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        await store.create_session(ALICE, "t", NEW)
        run = await claim(store)

        with pytest.raises(IdReused):
            await store.claim_run(ALICE, "t", new_run(), lease=LEASE)

        assert await run_of(store) == run
        assert (await found(store, "t")).active_run_id is None

    async def test_a_busy_session_refuses_another_run(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        await claim(store, "r1")

        with pytest.raises(RunActive) as error:
            await claim(store, "r2")

        assert error.value.run_id == "r1"
        assert await store.find_run(ALICE, "r2") is None
        assert (await found(store)).active_run_id == "r1"

    async def test_a_refused_claim_leaves_a_gone_session_of_the_same_run_id_where_it_is(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        gone = await store.create_session(ALICE, "gone", replace(NEW, idle_ttl=MINUTE))
        await claim(store, "r1", session="gone")
        clock.advance(MINUTE)
        await store.create_session(ALICE, "s", NEW)
        await claim(store, "r2")

        with pytest.raises(RunActive):
            await claim(store, "r1")

        assert (ALICE, "gone", gone.incarnation) in await store.due_sessions(limit=1_000)

    async def test_sessions_have_slots_of_their_own(self, store: AnyStore) -> None:
        for session_id in ("s", "t"):
            await store.create_session(ALICE, session_id, NEW)

        runs = [await claim(store, f"run in {session_id}", session=session_id) for session_id in ("s", "t")]

        assert [run.status for run in runs] == ["running", "running"]

    async def test_a_missing_session_cannot_be_claimed(self, store: AnyStore) -> None:
        with pytest.raises(NotFound):
            await claim(store)

        assert await store.find_run(ALICE, "r") is None

    async def test_the_slot_is_free_after_each_outcome(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)

        for outcome in ("complete", "cancelled", "failed", "interrupted"):
            await claim(store, outcome)
            await store.finish_run(ALICE, outcome, outcome, token=1)
            assert (await found(store)).active_run_id is None

    async def test_one_of_many_racing_claims_gets_the_slot(self, store: AnyStore, second_store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)

        outcomes = await asyncio.gather(
            *(claim((store, second_store)[n % 2], f"r{n}") for n in range(10)), return_exceptions=True
        )

        won = [outcome for outcome in outcomes if isinstance(outcome, Run)]
        assert len(won) == 1
        assert sum(isinstance(outcome, RunActive) for outcome in outcomes) == 9
        assert (await found(store)).active_run_id == won[0].id
        assert [n for n in range(10) if await store.find_run(ALICE, f"r{n}") is not None] == [int(won[0].id[1:])]

    async def test_racing_claims_of_one_run_all_get_it(self, store: AnyStore, second_store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)

        claims = await asyncio.gather(
            *(
                (store, second_store)[n % 2].claim_run(ALICE, "s", new_run(claimant=f"{n}"), lease=LEASE)
                for n in range(10)
            )
        )

        assert sum(not claimed.attached for claimed in claims) == 1
        assert {(claimed.run.id, claimed.run.status) for claimed in claims} == {("r", "running")}


class QueueTests(Suite):
    """Runs that wait."""

    async def _three(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        for run_id in ("r1", "r2", "r3"):
            await claim(store, run_id, queue=True)

    async def test_waiting_runs_stand_in_the_order_of_their_claims(self, store: AnyStore) -> None:
        await self._three(store)

        session = await found(store)
        second = await run_of(store, "r2")
        again = await store.claim_run(ALICE, "s", new_run("r2", claimant="other"), lease=LEASE, queue=True)

        assert (session.active_run_id, session.queued_run_ids) == ("r1", ("r2", "r3"))
        assert (second.status, second.token, second.finished_at, second.is_over) == ("queued", 0, None, False)
        assert again == RunClaim(second, attached=True)
        assert (await found(store)) == session

    async def test_the_queue_has_an_end(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        for n in range(MAX_QUEUED_RUNS + 1):
            await claim(store, f"r{n}", queue=True)

        with pytest.raises(Conflict):
            await claim(store, "one too many", queue=True)

        assert len((await found(store)).queued_run_ids) == MAX_QUEUED_RUNS
        assert await store.find_run(ALICE, "one too many") is None

    async def test_an_end_gives_the_slot_to_the_next_which_is_taken_once(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await self._three(store)
        clock.advance(TICK)

        ended = await store.finish_run(ALICE, "r1", "complete", token=1)
        session = await found(store)
        waiting = await run_of(store, "r2")
        due = await store.expired_runs()
        taken = await store.take_run(ALICE, "r2", lease=LEASE)
        again = await store.take_run(ALICE, "r2", lease=LEASE)

        assert ended.next_run_id == "r2"
        assert (session.active_run_id, session.queued_run_ids) == ("r2", ("r3",))
        assert (waiting.status, waiting.lease_until <= clock.now) == ("queued", True)
        assert list(due) == [(ALICE, "r2")]
        assert taken is not None
        assert (taken.status, taken.token, taken.lease_until) == ("running", 1, clock.now + LEASE)
        assert taken.request == "a question"
        assert again is None
        assert await run_of(store, "r2") == taken

    async def test_a_run_that_waits_is_not_taken_but_its_lease_is_extended(
        self, store: AnyStore, clock: FakeClock
    ) -> None:
        await self._three(store)
        clock.advance(LEASE)

        taken = await store.take_run(ALICE, "r3", lease=LEASE)

        waiting = await run_of(store, "r3")
        assert taken is None
        assert (waiting.status, waiting.token, waiting.lease_until) == ("queued", 0, clock.now + LEASE)

    async def test_a_run_that_waits_accepts_no_writes(self, store: AnyStore) -> None:
        await self._three(store)

        for token in (0, 1):
            signal = await store.append_events(ALICE, "r2", events(1, 1), token=token, lease=LEASE)
            assert not signal.lease_ok
            with pytest.raises(Conflict):
                await store.finish_run(ALICE, "r2", "complete", token=token)

        assert (await run_of(store, "r2")).last_event == 0
        assert (await found(store)).queued_run_ids == ("r2", "r3")

    async def test_cancelling_one_that_waits_ends_it_at_once(self, store: AnyStore, clock: FakeClock) -> None:
        await self._three(store)
        clock.advance(TICK)

        cancelled = await store.cancel_run(ALICE, "r2")
        again = await store.cancel_run(ALICE, "r2")

        assert (cancelled.status, cancelled.finished_at, cancelled.request) == ("cancelled", clock.now, "")
        assert again == cancelled == await run_of(store, "r2")
        assert (await found(store)).queued_run_ids == ("r3",)
        assert (await store.finish_run(ALICE, "r1", "complete", token=1)).next_run_id == "r3"

    async def test_cancelling_one_that_has_the_slot_but_waits_passes_the_slot_on(self, store: AnyStore) -> None:
        await self._three(store)
        await store.finish_run(ALICE, "r1", "complete", token=1)

        await store.cancel_run(ALICE, "r2")

        assert (await found(store)).active_run_id == "r3"
        taken = await store.take_run(ALICE, "r3", lease=LEASE)
        assert taken is not None
        assert taken.status == "running"

    async def test_the_whole_queue_is_worked_off_in_order(self, store: AnyStore) -> None:
        await self._three(store)
        order = []
        run_id: str | None = "r1"

        while run_id is not None:
            order.append(run_id)
            run_id = (await store.finish_run(ALICE, run_id, "complete", token=1)).next_run_id
            if run_id is not None:
                assert await store.take_run(ALICE, run_id, lease=LEASE) is not None

        session = await found(store)
        assert order == ["r1", "r2", "r3"]
        assert (session.active_run_id, session.queued_run_ids) == (None, ())

    async def test_one_of_many_racing_takers_gets_the_promoted_run(
        self, store: AnyStore, second_store: AnyStore
    ) -> None:
        await self._three(store)
        await store.finish_run(ALICE, "r1", "complete", token=1)

        taken = await asyncio.gather(
            *((store, second_store)[n % 2].take_run(ALICE, "r2", lease=LEASE) for n in range(10))
        )

        assert sum(run is not None for run in taken) == 1
        assert (await run_of(store, "r2")).token == 1


class CancelTests(Suite):
    """Asking a run to stop."""

    async def test_a_running_one_learns_it_with_its_next_write(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        await claim(store)
        before = await store.append_events(ALICE, "r", events(1, 1), token=1, lease=LEASE)

        asked = await store.cancel_run(ALICE, "r")
        await store.cancel_run(ALICE, "r")
        after = await store.append_events(ALICE, "r", events(2, 2), token=1, lease=LEASE)

        assert (before.cancel, before.lease_ok) == (False, True)
        assert (asked.cancel_requested, asked.status) == (True, "running")
        assert (after.cancel, after.lease_ok) == (True, True)
        assert (await run_of(store)).last_event == 2

    async def test_one_that_is_over_stays_as_it_is(self, store: AnyStore) -> None:
        await store.create_session(ALICE, "s", NEW)
        await claim(store)
        ended = await store.finish_run(ALICE, "r", "complete", token=1, message_seq=None)

        assert await store.cancel_run(ALICE, "r") == ended.run

    async def test_a_missing_run_is_not_found(self, store: AnyStore) -> None:
        await say(store, "a")

        assert await store.find_run(ALICE, "r") is None
        for call in (
            lambda: store.cancel_run(ALICE, "r"),
            lambda: store.take_run(ALICE, "r", lease=LEASE),
            lambda: store.append_events(ALICE, "r", [], token=1, lease=LEASE),
            lambda: store.read_events(ALICE, "r"),
            lambda: store.finish_run(ALICE, "r", "complete", token=1),
            lambda: store.drop_events(ALICE, "r"),
        ):
            with pytest.raises(NotFound):
                await call()
