"""Runs: a run's item is the head of its events, and every change of it is one conditional put."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from chatkeep.domain.errors import Conflict, CorruptRecord, IdReused, Invalid, LeaseLost, NotFound
from chatkeep.domain.ids import new_id
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import to_us
from chatkeep.domain.runs import NewRun, Run, RunClaim, RunEnd, RunEvent, RunOutcome, RunSignal, begun
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, claimed, is_gone, released
from chatkeep.stores.checks import check_events, check_lease, check_new_run, check_outcome
from chatkeep.stores.items.handle import TAIL_BYTES
from chatkeep.stores.items.heads import Head, Row, StoredRun
from chatkeep.stores.items.keys import pointer_key, run_key, session_key
from chatkeep.stores.items.removal import UNLIMITED, Allowance, Removal, ended_key, running_key
from chatkeep.stores.items.tables import LOG, WORK, int_of, text_of, together, unchanged
from chatkeep.stores.races import Raced
from chatkeep.stores.records import number


def holds_claim(session: Session, run_id: str) -> bool:
    """Return whether a run has the session's slot or waits for it."""
    return run_id == session.active_run_id or run_id in session.queued_run_ids


class ItemRuns(Removal):
    """The runs of sessions.

    A claim puts the run's item first and then takes the slot in the session's head, which commits it: a run that is not
    over and neither holds the slot nor waits has not been claimed yet, and nobody finds it. What a crash leaves of it
    is completed by a repeat of the claim, or ended by `take_run`. An end is committed by the run's item, and a slot
    whose holder is over is free, so that the head may follow later: by the same call, its repeat, the next claim, or
    `expired_runs`.
    """

    async def claim_run(
        self, scope: Scope, session_id: str, new: NewRun, *, lease: timedelta, queue: bool = False
    ) -> RunClaim:
        check_new_run(session_id, new)
        check_lease(lease)
        placed: list[StoredRun] = []
        mark = new_id()

        async def attempt() -> RunClaim:
            # The run is read before the head: a put of the run then proves that nobody with a newer view of the head
            # has put it in between.
            stored = await self._stored_run(scope, new.id)
            head = await self._passed_on(await self._writable(scope, session_id))
            now = self._clock()
            mine = stored is not None and stored.incarnation == head.incarnation
            if stored is not None and mine:
                if stored.run.digest != new.digest:
                    raise IdReused(new.id)
                if stored.run.is_over or holds_claim(head.session, new.id):
                    attached = stored.run.claimant != new.claimant
                    return RunClaim(await self._with_request(stored), attached=attached)
            owner = await self._gone_owner(stored, now) if stored is not None and not mine else None
            session = claimed(head.session, new.id, queue=queue)
            if owner is not None:
                await self._bury(owner)
            starts = session.active_run_id == new.id
            run = begun(new, session.id, session.incarnation, now, lease=lease, starts=starts)
            fresh = StoredRun(scope, replace(run, request=""), mark)
            placed[:] = [await self._place(head, fresh, new.request, instead_of=stored)]
            await self._save(head.changed(session))
            return RunClaim(run, attached=False)

        try:
            return await self._until_won(session_key(scope, session_id), attempt)
        except (Conflict, NotFound):
            for stored in placed:
                await self._unplace(stored)
            raise

    async def _gone_owner(self, stored: StoredRun, now: datetime) -> Head | None:
        """Return the session of a run, which must be gone, unless it is buried already. Raises IdReused."""
        owner = await self._head(stored.scope, stored.run.session_id)
        if owner is None or owner.incarnation != stored.incarnation:
            return None
        if not is_gone(owner.session, now):
            raise IdReused(stored.run.id)
        return owner

    async def _passed_on(self, head: Head) -> Head:
        """Return the head of a session whose slot's holder, if any, is not over; save it if one had to go. Raises
        Raced.
        """
        session = await self._with_free_slot(head)
        if session == head.session:
            return head
        saved = await self._save(head.changed(session))
        await self._let_holder_start(head.scope, session)
        return saved

    async def _with_free_slot(self, head: Head) -> Session:
        """Return the session without holders of the slot that are over or missing."""
        session = head.session
        while session.active_run_id is not None:
            holder = await self._stored_run(head.scope, session.active_run_id)
            if holder is not None and holder.incarnation == head.incarnation and not holder.run.is_over:
                break
            session = released(session, session.active_run_id)
        return session

    async def _place(self, head: Head, fresh: StoredRun, request: str, *, instead_of: StoredRun | None) -> StoredRun:
        """Put a run's item, after its request and the notes by which it is found again."""
        run = fresh.run
        put = self._tables.put
        await together(
            (
                partial(self._note_running, fresh, check_at=run.lease_until),
                partial(put, LOG, pointer_key(head.incarnation, run.id), {"run": fresh.key.pk}),
                partial(put, LOG, fresh.request_key, {"req": request}),
            )
        )
        return await self._save_run(fresh, instead_of=instead_of)

    async def _unplace(self, stored: StoredRun) -> None:
        """Take back a run whose claim was refused in the end. Nothing happens if somebody else goes on with it.

        The notes stay, since another claim of that id may rest on them: `expired_runs` and a purge remove them.
        """
        with suppress(Raced):
            await self._tables.delete(LOG, stored.key, unchanged(stored.version, stored.incarnation))
            await self._tables.delete(LOG, stored.request_key)

    async def _note_running(self, stored: StoredRun, *, check_at: datetime | None) -> None:
        """Note a run that is not over, to be looked at from `check_at` on (None: at once)."""
        item = {
            "run": stored.key.pk,
            "inc": stored.incarnation,
            "noted": self._now_ms(),
            "chk": (0 if check_at is None else to_us(check_at)),
        }
        await self._tables.put(WORK, running_key(stored.incarnation, stored.run.id), item)

    async def _leased(self, stored: StoredRun, lease: timedelta) -> Run:
        """Return the run with its lease from now on; one that ends earlier than before is noted to be looked at."""
        until = self._clock() + lease
        if until < stored.run.lease_until:
            await self._note_running(stored, check_at=None)
        return replace(stored.run, lease_until=until)

    async def _with_request(self, stored: StoredRun) -> Run:
        """Return the run with its request, which is empty once it is over. Raises Raced if it ended meanwhile."""
        run = stored.run
        if run.is_over:
            return run
        item = await self._tables.get(LOG, stored.request_key)
        if item is None:
            raise Raced
        return replace(run, request=text_of(item, "req"))

    async def _present_run(self, scope: Scope, run_id: str) -> tuple[StoredRun, Head]:
        """Return a run and the head of its session, live or trashed. Raises NotFound."""
        stored = await self._stored_run(scope, run_id)
        head = None if stored is None else await self._present(scope, stored.run.session_id)
        if stored is None or head is None or head.incarnation != stored.incarnation:
            raise NotFound("run", run_id)
        return stored, head

    async def _live_run(self, scope: Scope, run_id: str) -> tuple[StoredRun, Head]:
        """Return a run that is claimed or over and the head of its session, which is live. Raises NotFound."""
        stored, head = await self._present_run(scope, run_id)
        is_claimed = stored.run.is_over or holds_claim(head.session, run_id)
        if not is_claimed or head.session.state == "trashed":
            raise NotFound("run", run_id)
        return stored, head

    async def find_run(self, scope: Scope, run_id: str) -> Run | None:
        async def attempt() -> Run | None:
            try:
                stored, _ = await self._live_run(scope, run_id)
            except NotFound:
                return None
            return await self._with_request(stored)

        return await self._undisturbed(attempt)

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        check_events(run_id, events)
        check_lease(lease)

        async def attempt() -> RunSignal:
            stored, head = await self._present_run(scope, run_id)
            run = stored.run
            if not run.is_over and not holds_claim(head.session, run_id):
                raise NotFound("run", run_id)
            if run.token != token or run.status != "running" or head.session.state == "trashed":
                return RunSignal(cancel=run.cancel_requested, lease_ok=False)
            stored, rows = await self._all_but_last(stored, _fresh(run, events))
            await self._extended(stored, rows, await self._leased(stored, lease))
            return RunSignal(cancel=run.cancel_requested, lease_ok=True)

        return await self._until_won(run_key(scope, run_id), attempt)

    async def _all_but_last(self, stored: StoredRun, rows: Sequence[Row]) -> tuple[StoredRun, Sequence[Row]]:
        """Store as many events as do not fit into one item together with those behind them; return what is left."""
        while sum(row.size for row in rows) > TAIL_BYTES:
            fitting = 1
            while sum(row.size for row in rows[: fitting + 1]) <= TAIL_BYTES:
                fitting += 1
            stored = await self._extended(stored, rows[:fitting], stored.run)
            rows = rows[fitting:]
        return stored, rows

    async def _extended(self, stored: StoredRun, rows: Sequence[Row], run: Run) -> StoredRun:
        """Put the item of a run with more events in its tail, and copy what was there before. Raises Raced."""
        before = self._uncopied(stored)
        if sum(row.size for row in (*before, *rows)) > TAIL_BYTES:
            await self._copy(stored, before)
            before = ()
        last_event = rows[-1].n if rows else run.last_event
        grown = replace(stored, run=replace(run, last_event=last_event), tail=(*before, *rows))
        return await self._commit(before, stored, self._save_run(grown))

    async def read_events(self, scope: Scope, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[RunEvent]:
        check_limit(limit, MAX_READ)

        async def attempt() -> Sequence[RunEvent]:
            stored, _ = await self._live_run(scope, run_id)
            first = max(after, stored.dropped) + 1
            last = min(stored.run.last_event, first + limit - 1)
            if first > last:
                return []
            found = {row.n: text_of(row.item, "body") for row in stored.tail}
            async for item in self._tables.query(LOG, stored.partition, low=number(first), high=number(last)):
                found[int_of(item, "n")] = text_of(item, "body")
            missing = [event for event in range(first, last + 1) if event not in found]
            if missing:
                again, _ = await self._live_run(scope, run_id)
                if again.dropped != stored.dropped:
                    raise Raced
                raise CorruptRecord(f"event {missing[0]} of run {run_id!r} is missing")
            return [RunEvent(event, found[event]) for event in range(first, last + 1)]

        return await self._undisturbed(attempt)

    async def cancel_run(self, scope: Scope, run_id: str) -> Run:
        async def attempt() -> Run:
            stored, head = await self._live_run(scope, run_id)
            await self._passed_on(head)
            run = stored.run
            if run.status == "queued":
                ended = await self._end(stored, (), "cancelled")
                await self._after_end(ended)
                return ended.run
            if run.status == "running" and not run.cancel_requested:
                stored = await self._save_run(replace(stored, run=replace(run, cancel_requested=True)))
            return await self._with_request(stored)

        return await self._until_won(run_key(scope, run_id), attempt)

    async def take_run(self, scope: Scope, run_id: str, *, lease: timedelta) -> Run | None:
        check_lease(lease)

        async def attempt() -> Run | None:
            stored, head = await self._present_run(scope, run_id)
            if head.session.state == "trashed":
                raise NotFound("run", run_id)
            head = await self._passed_on(head)
            run, now = stored.run, self._clock()
            if run.is_over:
                return None
            if run_id in head.session.queued_run_ids:
                await self._save_run(replace(stored, run=await self._leased(stored, lease)))
                return None
            if run_id != head.session.active_run_id:
                if now >= run.lease_until:  # before that, its claimer may still be at it
                    await self._after_end(await self._end(stored, (), "interrupted"))
                return None
            if run.status == "running" and now < run.lease_until:
                return None
            taken = replace(await self._leased(stored, lease), status="running", token=run.token + 1)
            return await self._with_request(await self._save_run(replace(stored, run=taken)))

        return await self._until_won(run_key(scope, run_id), attempt)

    async def finish_run(
        self,
        scope: Scope,
        run_id: str,
        outcome: RunOutcome,
        *,
        token: int,
        events: Sequence[RunEvent] = (),
        message_seq: int | None = None,
        error: str | None = None,
    ) -> RunEnd:
        check_events(run_id, events)
        check_outcome(outcome, error)

        async def attempt() -> RunEnd:
            stored, _ = await self._live_run(scope, run_id)
            run = stored.run
            if run.token != token or run.status == "queued":
                raise LeaseLost(run_id)
            if not run.is_over:
                stored, rows = await self._all_but_last(stored, _fresh(run, events))
                told = replace(stored.run, message_seq=message_seq, error=error)
                stored = await self._end(replace(stored, run=told), rows, outcome)
            return RunEnd(stored.run, await self._after_end(stored))

        return await self._until_won(run_key(scope, run_id), attempt)

    async def _end(self, stored: StoredRun, rows: Sequence[Row], outcome: RunOutcome) -> StoredRun:
        """Decide the outcome together with the last events. Raises Raced."""
        run = replace(stored.run, status=outcome, finished_at=self._clock(), request="")
        return await self._extended(stored, rows, run)

    async def _after_end(self, stored: StoredRun) -> str | None:
        """Free the slot of a run that is over, tidy up behind it, and return the waiting run that has the slot."""
        run, scope = stored.run, stored.scope

        async def release() -> Session | None:
            head = await self._head(scope, run.session_id)
            if head is None or head.incarnation != stored.incarnation:
                return None
            session = head.session
            if holds_claim(session, run.id):
                session = released(session, run.id)
                session = await self._with_free_slot(head.changed(session))
                await self._save(head.changed(session))
            return session

        session = await self._until_won(session_key(scope, run.session_id), release)
        waiting = None if session is None else await self._let_holder_start(scope, session)
        note = {"run": stored.key.pk, "inc": stored.incarnation}
        await self._tables.put(WORK, ended_key(stored), note)
        await self._tables.delete(LOG, stored.request_key)
        await self._tables.delete(WORK, running_key(stored.incarnation, run.id))
        return waiting

    async def _let_holder_start(self, scope: Scope, session: Session) -> str | None:
        """Return the run that has the slot and waits, if there is one, its lease being over."""
        run_id = session.active_run_id
        if run_id is None:
            return None

        async def attempt() -> str | None:
            stored = await self._stored_run(scope, run_id)
            if stored is None or stored.incarnation != session.incarnation or stored.run.status != "queued":
                return None
            now = self._clock()
            if stored.run.lease_until > now:
                await self._save_run(replace(stored, run=replace(stored.run, lease_until=now)))
                await self._note_running(stored, check_at=None)
            return run_id

        return await self._undisturbed(attempt)

    async def drop_events(self, scope: Scope, run_id: str) -> None:
        async def attempt() -> StoredRun:
            stored, _ = await self._live_run(scope, run_id)
            if not stored.run.is_over:
                raise Conflict(f"run {run_id!r} is not over; its events are needed until it ends")
            return await self._dropped(stored)

        stored = await self._until_won(run_key(scope, run_id), attempt)
        await self._remove_where(stored.partition, Allowance(UNLIMITED))

    async def _dropped(self, stored: StoredRun) -> StoredRun:
        """Let the events of a run that is over be gone for readers. Raises Raced."""
        if stored.dropped == stored.run.last_event:
            return stored
        return await self._save_run(replace(stored, dropped=stored.run.last_event, tail=()))


def _fresh(run: Run, events: Sequence[RunEvent]) -> tuple[Row, ...]:
    """Return the rows of the events that are not stored yet. Raises Invalid for a gap."""
    fresh = [event for event in events if event.n > run.last_event]
    if fresh and fresh[0].n != run.last_event + 1:
        raise Invalid(f"event {fresh[0].n} leaves a gap behind {run.last_event}", field="events")
    return tuple(Row(event.n, {"n": event.n, "body": event.body}) for event in fresh)
