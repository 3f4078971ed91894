"""Generations of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from chatkeep.domain.errors import Conflict, IdReused, Invalid, LeaseLost, NotFound
from chatkeep.domain.ids import check_id
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import from_us, to_us
from chatkeep.domain.runs import NewRun, Run, RunClaim, RunEnd, RunEvent, RunOutcome, RunSignal, begun
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import claimed, is_gone, is_live, released
from chatkeep.stores.checks import MAX_SEQ, check_events, check_lease, check_new_run, check_outcome
from chatkeep.stores.postgres.engine import Connection, Engine, Row
from chatkeep.stores.postgres.records import Stored, bury, save, scope_names, stored_of, writable
from chatkeep.stores.postgres.removal import STEP_ROWS
from chatkeep.stores.postgres.texts import stored as as_stored, told

_RUN_COLUMNS = 18


class StoredRun(NamedTuple):
    """A run with the keys of its row and of its session's."""

    key: int
    session_key: int
    has_events: bool
    run: Run


def _run_of(row: Row) -> StoredRun:
    key, session_key, has_events, *fields = tuple(row)[:_RUN_COLUMNS]
    (id_, session_id, incarnation, status, request, digest, claimant) = fields[:7]
    (created, finished, token, lease, cancel, message_seq, error, last) = fields[7:]
    run = Run(
        id=told(id_),
        session_id=told(session_id),
        incarnation=incarnation,
        status=status,
        request=told(request),
        digest=digest,
        claimant=told(claimant),
        created_at=from_us(created),
        finished_at=None if finished is None else from_us(finished),
        token=token,
        lease_until=from_us(lease),
        cancel_requested=cancel,
        message_seq=message_seq,
        error=None if error is None else told(error),
        last_event=last,
    )
    return StoredRun(key, session_key, has_events, run)


async def _find(db: Connection, scope: Scope, run_id: str) -> tuple[StoredRun, Stored] | None:
    """Return the run of a session that is not purged, and the session, as they are; nothing is locked."""
    check_id(run_id, "run_id")
    row = await db.row("find_run", as_stored(run_id), *scope_names(scope))
    return None if row is None else (_run_of(row), stored_of(tuple(row)[_RUN_COLUMNS:]))


async def _lock(
    db: Connection, scope: Scope, run_id: str, now: datetime, *, with_session: bool
) -> tuple[StoredRun, Stored] | None:
    """Return the run of a session that is not gone, locked, and the session, if asked for locked before it."""
    found = await _find(db, scope, run_id)
    if found is None:
        return None
    run, session = found
    if with_session:
        row = await db.row("lock_session_by_key", session.key)
        if row is None:
            return None
        session = stored_of(row)
    row = await db.row("lock_run", run.key)
    return None if row is None or is_gone(session.session, now) else (_run_of(row), session)


async def _live(db: Connection, scope: Scope, run_id: str, now: datetime) -> tuple[StoredRun, Stored]:
    """Return the run of a live session, and the session, both locked."""
    found = await _lock(db, scope, run_id, now, with_session=True)
    if found is None or found[1].session.state == "trashed":
        raise NotFound("run", run_id)
    return found


async def _put(db: Connection, stored: StoredRun) -> None:
    """Write what may change of a run."""
    run = stored.run
    await db.run(
        "update_run",
        stored.key,
        run.status,
        None if run.finished_at is None else to_us(run.finished_at),
        run.token,
        to_us(run.lease_until),
        run.cancel_requested,
        run.message_seq,
        None if run.error is None else as_stored(run.error),
        run.last_event,
        stored.has_events,
    )


async def _store_events(db: Connection, stored: StoredRun, events: Sequence[RunEvent]) -> StoredRun:
    """Store the events that are new, and return the run with the number of the last; it is still to be written."""
    run = stored.run
    fresh = [event for event in events if event.n > run.last_event]
    if not fresh:
        return stored
    if fresh[0].n != run.last_event + 1:
        raise Invalid(f"event {fresh[0].n} leaves a gap behind {run.last_event}", field="events")
    if fresh[-1].n > MAX_SEQ:
        raise Invalid(f"a run has at most {MAX_SEQ} events", field="events")
    await db.run("insert_events", stored.key, [event.n for event in fresh], [as_stored(one.body) for one in fresh])
    return stored._replace(has_events=True, run=replace(run, last_event=fresh[-1].n))


async def _end(
    db: Connection, stored: StoredRun, session: Stored, outcome: RunOutcome, now: datetime
) -> tuple[StoredRun, Stored]:
    """Decide the outcome; the next waiting run gets the slot, with a lease that is over."""
    ended = stored._replace(run=replace(stored.run, status=outcome, finished_at=now, request=""))
    await _put(db, ended)
    await db.run("delete_request", stored.key)
    freed = await save(db, session, released(session.session, stored.run.id))
    holder = await _waiting_holder(db, freed)
    if holder is not None:
        await db.run("expire_lease", holder[0], to_us(now))
    return ended, freed


async def _waiting_holder(db: Connection, session: Stored) -> tuple[int, str] | None:
    """Return the key and the id of the run that has the session's slot and does not work yet, if there is one."""
    run_id = session.session.active_run_id
    if run_id is None:
        return None
    row = await db.row("find_waiting_run", session.key, as_stored(run_id))
    return None if row is None else (row[0], told(row[1]))


class PostgresRuns(Engine):
    """The runs of sessions."""

    async def claim_run(
        self, scope: Scope, session_id: str, new: NewRun, *, lease: timedelta, queue: bool = False
    ) -> RunClaim:
        check_new_run(session_id, new)
        check_lease(lease)

        async def claim(db: Connection) -> RunClaim:
            now = self._clock()
            session = await writable(db, scope, session_id, now)
            await db.row("one_claim", str(session.scope), as_stored(new.id))
            known = await _find(db, scope, new.id)
            if known is not None:
                run, owner = known
                if run.session_key == session.key and run.run.digest == new.digest:
                    return RunClaim(run.run, attached=run.run.claimant != new.claimant)
                if not is_gone(owner.session, now):
                    raise IdReused(new.id)
            record = claimed(session.session, new.id, queue=queue)
            if known is not None:
                await bury(db, known[1])
            await save(db, session, record)
            starts = record.active_run_id == new.id
            run_ = begun(new, session_id, record.incarnation, now, lease=lease, starts=starts)
            await db.run(
                "insert_run",
                session.key,
                session.scope,
                as_stored(run_.id),
                run_.status,
                as_stored(run_.request),
                run_.digest,
                as_stored(run_.claimant),
                to_us(now),
                run_.token,
                to_us(run_.lease_until),
            )
            return RunClaim(run_, attached=False)

        return await self._write(claim)

    async def find_run(self, scope: Scope, run_id: str) -> Run | None:
        found = await self._read(lambda db: _find(db, scope, run_id))
        if found is None or not is_live(found[1].session, self._clock()):
            return None
        return found[0].run

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        check_events(run_id, events)
        check_lease(lease)

        async def append(db: Connection) -> RunSignal:
            now = self._clock()
            found = await _lock(db, scope, run_id, now, with_session=False)
            if found is None:
                raise NotFound("run", run_id)
            stored, session = found
            run = stored.run
            if run.token != token or run.status != "running" or session.session.state == "trashed":
                return RunSignal(cancel=run.cancel_requested, lease_ok=False)
            stored = await _store_events(db, stored, events)
            await _put(db, stored._replace(run=replace(stored.run, lease_until=now + lease)))
            return RunSignal(cancel=run.cancel_requested, lease_ok=True)

        return await self._write(append)

    async def read_events(self, scope: Scope, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[RunEvent]:
        check_limit(limit, MAX_READ)

        async def read(db: Connection) -> list[RunEvent]:
            found = await _find(db, scope, run_id)
            if found is None or not is_live(found[1].session, self._clock()):
                raise NotFound("run", run_id)
            stored = found[0]
            low = min(max(after, 0), MAX_SEQ)
            rows = await db.rows("read_events", stored.key, low, stored.run.last_event, limit)
            return [RunEvent(n, told(body)) for n, body in rows]

        return await self._look(read)

    async def cancel_run(self, scope: Scope, run_id: str) -> Run:
        async def cancel(db: Connection) -> Run:
            now = self._clock()
            stored, session = await _live(db, scope, run_id, now)
            if stored.run.status == "queued":
                return (await _end(db, stored, session, "cancelled", now))[0].run
            if stored.run.status == "running" and not stored.run.cancel_requested:
                stored = stored._replace(run=replace(stored.run, cancel_requested=True))
                await _put(db, stored)
            return stored.run

        return await self._write(cancel)

    async def take_run(self, scope: Scope, run_id: str, *, lease: timedelta) -> Run | None:
        check_lease(lease)

        async def take(db: Connection) -> Run | None:
            now = self._clock()
            stored, session = await _live(db, scope, run_id, now)
            run, record = stored.run, session.session
            if run.is_over or (run.status == "running" and now < run.lease_until):
                return None
            if run.status == "queued" and run_id != record.active_run_id:
                if run_id in record.queued_run_ids:
                    await _put(db, stored._replace(run=replace(run, lease_until=now + lease)))
                else:
                    await _end(db, stored, session, "interrupted", now)
                return None
            taken = replace(run, status="running", token=run.token + 1, lease_until=now + lease)
            await _put(db, stored._replace(run=taken))
            return taken

        return await self._write(take)

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

        async def finish(db: Connection) -> RunEnd:
            now = self._clock()
            stored, session = await _live(db, scope, run_id, now)
            if stored.run.token != token or stored.run.status == "queued":
                raise LeaseLost(run_id)
            if not stored.run.is_over:
                stored = await _store_events(db, stored, events)
                stored = stored._replace(run=replace(stored.run, message_seq=message_seq, error=error))
                stored, session = await _end(db, stored, session, outcome, now)
            holder = await _waiting_holder(db, session)
            return RunEnd(stored.run, None if holder is None else holder[1])

        return await self._write(finish)

    async def drop_events(self, scope: Scope, run_id: str) -> None:
        async def check(db: Connection) -> int:
            found = await _find(db, scope, run_id)
            if found is None or not is_live(found[1].session, self._clock()):
                raise NotFound("run", run_id)
            if not found[0].run.is_over:
                raise Conflict(f"run {run_id!r} is not over; its events are needed until it ends")
            return found[0].key

        key = await self._read(check)
        while await self._write(lambda db: sweep_events(db, key, STEP_ROWS)):
            pass


async def sweep_events(db: Connection, run: int, most: int) -> int:
    """Remove up to `most` events of a run that is over; return how many, fewer when none is left."""
    removed = await db.run("delete_events", run, most)
    if removed < most:
        await db.run("drop_has_events", run)
    return removed
