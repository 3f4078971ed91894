"""Generations of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from chatkeep.domain.errors import Conflict, IdReused, Invalid, LeaseLost, NotFound
from chatkeep.domain.ids import check_id
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.runs import NewRun, Run, RunClaim, RunEnd, RunEvent, RunOutcome, RunSignal, begun
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import claimed, is_gone, released
from chatkeep.stores.checks import check_events, check_lease, check_new_run, check_outcome
from chatkeep.stores.memory.tables import ROW_BYTES, Handle, Shelf, StoredRun


class MemoryRuns(Handle):
    """The runs of sessions."""

    async def claim_run(
        self, scope: Scope, session_id: str, new: NewRun, *, lease: timedelta, queue: bool = False
    ) -> RunClaim:
        check_new_run(session_id, new)
        check_lease(lease)
        shelf = self._writable(scope, session_id)
        now = self._clock()
        known = self._tables.runs.get(scope, {}).get(new.id)
        if known is not None and known.shelf is shelf and known.run.digest == new.digest:
            return RunClaim(known.run, attached=known.run.claimant != new.claimant)
        if known is not None and not is_gone(known.shelf.record, now):
            raise IdReused(new.id)
        record = claimed(shelf.record, new.id, queue=queue)
        self._charge(shelf, ROW_BYTES + len(new.request))
        if known is not None:
            self._discard(scope, known.shelf)
        starts = record.active_run_id == new.id
        run = begun(new, session_id, shelf.record.incarnation, now, lease=lease, starts=starts)
        self._tables.runs.setdefault(scope, {})[new.id] = StoredRun(run, shelf)
        shelf.run_ids.append(new.id)
        self._put(scope, shelf, record)
        return RunClaim(run, attached=False)

    def _found(self, scope: Scope, run_id: str) -> StoredRun | None:
        """Return the run of a session that is not gone, live or trashed."""
        check_id(run_id, "run_id")
        stored = self._open().runs.get(scope, {}).get(run_id)
        return None if stored is None or is_gone(stored.shelf.record, self._clock()) else stored

    def _run(self, scope: Scope, run_id: str) -> StoredRun:
        """Return the run of a live session."""
        stored = self._found(scope, run_id)
        if stored is None or stored.shelf.record.state == "trashed":
            raise NotFound("run", run_id)
        return stored

    async def find_run(self, scope: Scope, run_id: str) -> Run | None:
        stored = self._found(scope, run_id)
        return None if stored is None or stored.shelf.record.state == "trashed" else stored.run

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        check_events(run_id, events)
        check_lease(lease)
        stored = self._found(scope, run_id)
        if stored is None:
            raise NotFound("run", run_id)
        run = stored.run
        if run.token != token or run.status != "running" or stored.shelf.record.state == "trashed":
            return RunSignal(cancel=run.cancel_requested, lease_ok=False)
        self._store(stored, events)
        stored.run = replace(stored.run, lease_until=self._clock() + lease)
        return RunSignal(cancel=run.cancel_requested, lease_ok=True)

    def _store(self, stored: StoredRun, events: Sequence[RunEvent]) -> None:
        last = stored.run.last_event
        fresh = [event for event in events if event.n > last]
        if fresh and fresh[0].n != last + 1:
            raise Invalid(f"event {fresh[0].n} leaves a gap behind {last}", field="events")
        if fresh:
            self._charge(stored.shelf, sum(len(event.body.encode()) for event in fresh))
            stored.events.update((event.n, event.body) for event in fresh)
            stored.run = replace(stored.run, last_event=fresh[-1].n)

    async def read_events(self, scope: Scope, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[RunEvent]:
        check_limit(limit, MAX_READ)
        events = self._run(scope, run_id).events
        return [RunEvent(n, body) for n, body in events.items() if n > after][:limit]

    async def cancel_run(self, scope: Scope, run_id: str) -> Run:
        stored = self._run(scope, run_id)
        if stored.run.status == "queued":
            self._end(scope, stored, "cancelled")
        elif stored.run.status == "running":
            stored.run = replace(stored.run, cancel_requested=True)
        return stored.run

    async def take_run(self, scope: Scope, run_id: str, *, lease: timedelta) -> Run | None:
        check_lease(lease)
        stored = self._run(scope, run_id)
        run, record, now = stored.run, stored.shelf.record, self._clock()
        if run.is_over:
            return None
        if run.status == "queued" and run_id != record.active_run_id:
            if run_id in record.queued_run_ids:
                stored.run = replace(run, lease_until=now + lease)
            else:
                self._end(scope, stored, "interrupted")
            return None
        if run.status == "running" and now < run.lease_until:
            return None
        stored.run = replace(run, status="running", token=run.token + 1, lease_until=now + lease)
        return stored.run

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
        stored = self._run(scope, run_id)
        if stored.run.token != token or stored.run.status == "queued":
            raise LeaseLost(run_id)
        if not stored.run.is_over:
            self._store(stored, events)
            stored.run = replace(stored.run, message_seq=message_seq, error=error)
            self._end(scope, stored, outcome)
        return RunEnd(stored.run, self._waiting_holder(scope, stored.shelf))

    def _end(self, scope: Scope, stored: StoredRun, outcome: RunOutcome) -> None:
        """Decide the outcome; the next waiting run gets the slot, with a lease that is over."""
        now = self._clock()
        self._charge(stored.shelf, -len(stored.run.request))
        stored.run = replace(stored.run, status=outcome, finished_at=now, request="")
        self._put(scope, stored.shelf, released(stored.shelf.record, stored.run.id))
        holder = self._waiting_holder(scope, stored.shelf)
        if holder is not None:
            promoted = self._tables.runs[scope][holder]
            promoted.run = replace(promoted.run, lease_until=now)

    def _waiting_holder(self, scope: Scope, shelf: Shelf) -> str | None:
        """Return the id of the run that has the session's slot and does not work yet, if there is one."""
        holder = shelf.record.active_run_id
        return holder if holder and self._tables.runs[scope][holder].run.status == "queued" else None

    async def drop_events(self, scope: Scope, run_id: str) -> None:
        stored = self._run(scope, run_id)
        if not stored.run.is_over:
            raise Conflict(f"run {run_id!r} is not over; its events are needed until it ends")
        self._drop(stored)

    def _drop(self, stored: StoredRun) -> int:
        dropped = len(stored.events)
        self._charge(stored.shelf, -sum(len(body.encode()) for body in stored.events.values()))
        stored.events.clear()
        return dropped
