"""What a run writes, and the lease that lets it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatkeep.domain.errors import Conflict, Invalid, LeaseLost
from chatkeep.domain.runs import RunEvent
from chatkeep.testing.calls import ALICE, LEASE, NEW, claim, events, found
from chatkeep.testing.clock import FakeClock
from chatkeep.testing.contract.runs import run_of
from chatkeep.testing.harness import AnyStore
from chatkeep.testing.samples import TEXTS
from chatkeep.testing.suite import Suite

TICK = timedelta(milliseconds=1)


async def start(store: AnyStore) -> None:
    """Claim the run `r` in a new session."""
    await store.create_session(ALICE, "s", NEW)
    await claim(store)


async def numbers(store: AnyStore, **options: int) -> list[int]:
    """Return the numbers of the stored events."""
    return [event.n for event in await store.read_events(ALICE, "r", **options)]


class EventTests(Suite):
    """Events."""

    async def test_they_are_stored_in_order_and_read_in_pages(self, store: AnyStore) -> None:
        await start(store)
        await store.append_events(ALICE, "r", events(1, 3), token=1, lease=LEASE)
        await store.append_events(ALICE, "r", events(4, 103), token=1, lease=LEASE)

        assert list(await store.read_events(ALICE, "r")) == events(1, 103)
        assert (await run_of(store)).last_event == 103
        for limit in (1, 102, 103, 104, 1_000):
            assert await numbers(store, limit=limit) == list(range(1, 104))[:limit]
        for after in (0, 1, 3, 102, 103, 104, 2**40):
            assert await numbers(store, after=after) == list(range(1, 104))[after:]
        assert await numbers(store, after=50, limit=2) == [51, 52]

    async def test_500_come_unless_asked_otherwise(self, store: AnyStore) -> None:
        await start(store)
        for first in range(1, 602, 100):
            await store.append_events(ALICE, "r", events(first, first + 99), token=1, lease=LEASE)

        assert await numbers(store) == list(range(1, 501))
        assert await numbers(store, after=500) == list(range(501, 701))

    async def test_bodies_come_back_as_they_were(self, store: AnyStore) -> None:
        await start(store)
        given = [RunEvent(n, text) for n, text in enumerate(TEXTS.values(), start=1) if len(text) < 10_000]

        await store.append_events(ALICE, "r", given, token=1, lease=LEASE)

        assert list(await store.read_events(ALICE, "r")) == given

    @pytest.mark.parametrize("limit", [0, -1, 1_001])
    async def test_an_event_limit_out_of_range_is_invalid(self, store: AnyStore, limit: int) -> None:
        await start(store)

        with pytest.raises(Invalid):
            await store.read_events(ALICE, "r", limit=limit)

    async def test_a_repeat_is_harmless_and_an_overlap_continues(self, store: AnyStore) -> None:
        await start(store)
        await store.append_events(ALICE, "r", events(1, 3), token=1, lease=LEASE)

        repeat = await store.append_events(ALICE, "r", [RunEvent(2, "other")], token=1, lease=LEASE)
        overlap = await store.append_events(ALICE, "r", events(2, 5), token=1, lease=LEASE)

        assert repeat.lease_ok
        assert overlap.lease_ok
        assert list(await store.read_events(ALICE, "r")) == events(1, 5)

    @pytest.mark.parametrize("given", [[3], [5, 6], [2, 4], [3, 2], [0], [-1, 0], [2, 2]], ids=repr)
    async def test_a_gap_is_invalid_and_stores_nothing(self, store: AnyStore, given: list[int]) -> None:
        await start(store)
        await store.append_events(ALICE, "r", events(1, 1), token=1, lease=LEASE)
        before = await run_of(store)

        with pytest.raises(Invalid):
            await store.append_events(ALICE, "r", [RunEvent(n, "x") for n in given], token=1, lease=2 * LEASE)
        with pytest.raises(Invalid):
            await store.finish_run(ALICE, "r", "complete", token=1, events=[RunEvent(n, "x") for n in given])

        assert await run_of(store) == before
        assert await numbers(store) == [1]

    async def test_they_can_be_dropped_only_when_the_run_is_over(self, store: AnyStore) -> None:
        await start(store)
        await store.append_events(ALICE, "r", events(1, 150 - 50), token=1, lease=LEASE)
        with pytest.raises(Conflict):
            await store.drop_events(ALICE, "r")
        kept = await numbers(store)
        await store.finish_run(ALICE, "r", "complete", token=1)

        await store.drop_events(ALICE, "r")
        await store.drop_events(ALICE, "r")

        assert kept == list(range(1, 101))
        assert await numbers(store) == []
        assert (await run_of(store)).last_event == 100


class LeaseTests(Suite):
    """Ownership of a run."""

    async def test_writes_extend_it(self, store: AnyStore, clock: FakeClock) -> None:
        await start(store)
        clock.advance(TICK)

        signal = await store.append_events(ALICE, "r", [], token=1, lease=2 * LEASE)

        assert signal.lease_ok
        assert (await run_of(store)).lease_until == clock.now + 2 * LEASE

    async def test_one_that_is_over_still_counts_until_it_is_taken(self, store: AnyStore, clock: FakeClock) -> None:
        await start(store)
        clock.advance(2 * LEASE)

        signal = await store.append_events(ALICE, "r", events(1, 1), token=1, lease=LEASE)

        assert signal.lease_ok
        assert await store.take_run(ALICE, "r", lease=LEASE) is None

    async def test_it_is_taken_from_the_exact_moment_on(self, store: AnyStore, clock: FakeClock) -> None:
        await start(store)
        clock.advance(LEASE - TICK)
        early = await store.take_run(ALICE, "r", lease=LEASE)
        untouched = await run_of(store)
        clock.advance(TICK)

        taken = await store.take_run(ALICE, "r", lease=LEASE)

        assert early is None
        assert untouched.token == 1
        assert taken is not None
        assert (taken.token, taken.status, taken.lease_until) == (2, "running", clock.now + LEASE)
        assert await run_of(store) == taken
        assert (await found(store)).active_run_id == "r"

    async def test_a_zombie_can_write_nothing(self, store: AnyStore, clock: FakeClock) -> None:
        await start(store)
        await store.append_events(ALICE, "r", events(1, 2), token=1, lease=LEASE)
        clock.advance(LEASE)
        taken = await store.take_run(ALICE, "r", lease=LEASE)

        signal = await store.append_events(ALICE, "r", events(3, 3), token=1, lease=9 * LEASE)
        with pytest.raises(LeaseLost) as error:
            await store.finish_run(ALICE, "r", "complete", token=1, events=events(3, 3))

        assert not signal.lease_ok
        assert error.value.run_id == "r"
        assert await run_of(store) == taken
        assert await numbers(store) == [1, 2]
        signal = await store.append_events(ALICE, "r", events(3, 3), token=2, lease=LEASE)
        assert signal.lease_ok

    async def test_a_token_from_the_future_is_no_owner(self, store: AnyStore) -> None:
        await start(store)

        assert not (await store.append_events(ALICE, "r", events(1, 1), token=2, lease=LEASE)).lease_ok
        with pytest.raises(LeaseLost):
            await store.finish_run(ALICE, "r", "complete", token=2)
        assert (await run_of(store)).last_event == 0

    async def test_a_run_that_is_over_is_not_taken(self, store: AnyStore, clock: FakeClock) -> None:
        await start(store)
        ended = await store.finish_run(ALICE, "r", "complete", token=1)
        clock.advance(2 * LEASE)

        assert await store.take_run(ALICE, "r", lease=LEASE) is None
        assert await run_of(store) == ended.run


class FinishTests(Suite):
    """The end of a run."""

    async def test_it_stores_the_last_events_and_the_outcome(self, store: AnyStore, clock: FakeClock) -> None:
        await start(store)
        await store.append_events(ALICE, "r", events(1, 2), token=1, lease=LEASE)
        clock.advance(TICK)

        ended = await store.finish_run(
            ALICE, "r", "failed", token=1, events=events(2, 4), message_seq=7, error="broken \0"
        )

        run = ended.run
        assert (run.status, run.finished_at, run.is_over) == ("failed", clock.now, True)
        assert (run.message_seq, run.error, run.request, run.last_event) == (7, "broken \0", "", 4)
        assert ended.next_run_id is None
        assert await run_of(store) == run
        assert list(await store.read_events(ALICE, "r")) == events(1, 4)
        assert (await found(store)).active_run_id is None

    async def test_a_repeat_returns_the_first_outcome(self, store: AnyStore, clock: FakeClock) -> None:
        await start(store)
        await claim(store, "next", queue=True)
        first = await store.finish_run(ALICE, "r", "complete", token=1, events=events(1, 1), message_seq=2)
        clock.advance(TICK)

        repeat = await store.finish_run(ALICE, "r", "complete", token=1, events=events(1, 1), message_seq=2)
        other = await store.finish_run(ALICE, "r", "failed", token=1, error="late")

        assert repeat == other == first
        assert first.next_run_id == "next"
        assert await run_of(store) == first.run
        assert (await found(store)).active_run_id == "next"
        assert await numbers(store) == [1]

    async def test_a_repeat_does_not_name_a_run_that_was_taken_meanwhile(self, store: AnyStore) -> None:
        await start(store)
        await claim(store, "next", queue=True)
        await store.finish_run(ALICE, "r", "complete", token=1)
        await store.take_run(ALICE, "next", lease=LEASE)

        assert (await store.finish_run(ALICE, "r", "complete", token=1)).next_run_id is None

    async def test_another_token_cannot_repeat_it(self, store: AnyStore) -> None:
        await start(store)
        await store.finish_run(ALICE, "r", "complete", token=1)

        with pytest.raises(LeaseLost):
            await store.finish_run(ALICE, "r", "complete", token=2)

    async def test_nothing_can_be_written_behind_it(self, store: AnyStore) -> None:
        await start(store)
        ended = await store.finish_run(ALICE, "r", "complete", token=1)

        signal = await store.append_events(ALICE, "r", events(1, 1), token=1, lease=LEASE)

        assert not signal.lease_ok
        assert await run_of(store) == ended.run
        assert await numbers(store) == []

    async def test_many_last_events_are_stored_with_it(self, store: AnyStore) -> None:
        await start(store)

        await store.finish_run(ALICE, "r", "complete", token=1, events=events(1, 100))

        assert await numbers(store) == list(range(1, 101))
