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
from chatkeep.domain.sessions import claimed, is_gone, released
from chatkeep.stores.checks import check_events, check_lease, check_new_run, check_outcome
from chatkeep.stores.sqlite.connection import Database
from chatkeep.stores.sqlite.engine import Engine
from chatkeep.stores.sqlite.records import (
    MAX_STORED_SEQ,
    SEQ_BITS,
    Stored,
    scope_names,
    stored_of,
    writable,
)
from chatkeep.stores.sqlite.removal import STEP_ROWS, bury, remove_events
from chatkeep.stores.sqlite.saving import save
from chatkeep.stores.sqlite.transaction import Write


class StoredRun(NamedTuple):
    """A run with the keys of its row and of its session's."""

    key: int
    session_key: int
    has_events: bool
    run: Run


def _find(db: Database, scope: Scope, run_id: str) -> StoredRun | None:
    """Return the run of a session that is not purged."""
    row = db.row("find_run", (run_id, *scope_names(scope)))
    if row is None:
        return None
    key, session_key, has_events, *fields = row
    (id_, session_id, incarnation, status, request, digest, claimant) = fields[:7]
    (created, finished, token, lease, cancel, message_seq, error, last) = fields[7:]
    run = Run(
        id=id_,
        session_id=session_id,
        incarnation=incarnation,
        status=status,
        request=request,
        digest=digest,
        claimant=claimant,
        created_at=from_us(created),
        finished_at=None if finished is None else from_us(finished),
        token=token,
        lease_until=from_us(lease),
        cancel_requested=cancel == 1,
        message_seq=message_seq,
        error=error,
        last_event=last,
    )
    return StoredRun(key, session_key, has_events == 1, run)


def _session(db: Database, stored: StoredRun) -> Stored:
    """Return the record of the session that a run belongs to."""
    row = db.row("find_session_by_key", (stored.session_key,))
    if row is None:
        raise AssertionError("find_run joins the session")
    return stored_of(row)


def _present(db: Database, scope: Scope, run_id: str, now: datetime) -> tuple[StoredRun, Stored] | None:
    """Return the run of a session that is not gone, live or trashed, and the session."""
    check_id(run_id, "run_id")
    stored = _find(db, scope, run_id)
    if stored is None:
        return None
    session = _session(db, stored)
    return None if is_gone(session.session, now) else (stored, session)


def _live(db: Database, scope: Scope, run_id: str, now: datetime) -> tuple[StoredRun, Stored]:
    """Return the run of a live session, and the session."""
    found = _present(db, scope, run_id, now)
    if found is None or found[1].session.state == "trashed":
        raise NotFound("run", run_id)
    return found


def _put(db: Database, stored: StoredRun) -> None:
    """Write what may change of a run."""
    run = stored.run
    values = (
        run.status,
        None if run.finished_at is None else to_us(run.finished_at),
        run.token,
        to_us(run.lease_until),
        run.cancel_requested,
        run.message_seq,
        run.error,
        run.last_event,
        stored.has_events,
        stored.key,
    )
    db.run("update_run", values)


def _store_events(db: Database, stored: StoredRun, events: Sequence[RunEvent]) -> StoredRun:
    """Store the events that are new, and return the run with the number of the last; it is still to be written."""
    run = stored.run
    fresh = [event for event in events if event.n > run.last_event]
    if not fresh:
        return stored
    if fresh[0].n != run.last_event + 1:
        raise Invalid(f"event {fresh[0].n} leaves a gap behind {run.last_event}", field="events")
    if fresh[-1].n > MAX_STORED_SEQ:
        raise Invalid(f"a run has at most {MAX_STORED_SEQ} events", field="events")
    db.run_many("insert_event", [(stored.key << SEQ_BITS | event.n, event.body) for event in fresh])
    return stored._replace(has_events=True, run=replace(run, last_event=fresh[-1].n))


def _end(
    write: Write, stored: StoredRun, session: Stored, outcome: RunOutcome, now: datetime
) -> tuple[StoredRun, Stored]:
    """Decide the outcome; the next waiting run gets the slot, with a lease that is over."""
    db = write.db
    ended = stored._replace(run=replace(stored.run, status=outcome, finished_at=now, request=""))
    _put(db, ended)
    db.run("delete_request", (stored.key,))
    record = save(write, session, released(session.session, stored.run.id))
    freed = session._replace(session=record)
    holder = _waiting_holder(db, freed)
    if holder is not None:
        db.run("expire_lease", (to_us(now), holder[0]))
    return ended, freed


def _waiting_holder(db: Database, session: Stored) -> tuple[int, str] | None:
    """Return the key and the id of the run that has the session's slot and does not work yet, if there is one."""
    run_id = session.session.active_run_id
    row = None if run_id is None else db.row("find_waiting_run", (session.key, run_id))
    return None if row is None else (row[0], row[1])


class SqliteRuns(Engine):
    """The runs of sessions."""

    async def claim_run(
        self, scope: Scope, session_id: str, new: NewRun, *, lease: timedelta, queue: bool = False
    ) -> RunClaim:
        check_new_run(session_id, new)
        check_lease(lease)

        def claim(write: Write) -> RunClaim:
            db, now = write.db, self._clock()
            session = writable(db, scope, session_id, now)
            known = _find(db, scope, new.id)
            owner = None if known is None else _session(db, known)
            if known is not None and owner is not None:
                if known.session_key == session.key and known.run.digest == new.digest:
                    return RunClaim(known.run, attached=known.run.claimant != new.claimant)
                if not is_gone(owner.session, now):
                    raise IdReused(new.id)
            record = claimed(session.session, new.id, queue=queue)
            if owner is not None:
                bury(write, owner)
            save(write, session, record)
            starts = record.active_run_id == new.id
            run = begun(new, session_id, record.incarnation, now, lease=lease, starts=starts)
            times = (to_us(run.created_at), run.token, to_us(run.lease_until))
            row = db.row("insert_run", (*session[:2], run.id, run.status, run.digest, run.claimant, *times))
            if row is None:
                raise AssertionError("an INSERT with RETURNING returns its row")
            db.run("insert_request", (row[0], new.request))
            return RunClaim(run, attached=False)

        return await self._write(claim)

    async def find_run(self, scope: Scope, run_id: str) -> Run | None:
        def find(db: Database) -> Run | None:
            found = _present(db, scope, run_id, self._clock())
            return None if found is None or found[1].session.state == "trashed" else found[0].run

        return await self._read(find)

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        check_events(run_id, events)
        check_lease(lease)

        def append(write: Write) -> RunSignal:
            now = self._clock()
            found = _present(write.db, scope, run_id, now)
            if found is None:
                raise NotFound("run", run_id)
            stored, session = found
            run = stored.run
            if run.token != token or run.status != "running" or session.session.state == "trashed":
                return RunSignal(cancel=run.cancel_requested, lease_ok=False)
            stored = _store_events(write.db, stored, events)
            _put(write.db, stored._replace(run=replace(stored.run, lease_until=now + lease)))
            return RunSignal(cancel=run.cancel_requested, lease_ok=True)

        return await self._write(append)

    async def read_events(self, scope: Scope, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[RunEvent]:
        check_limit(limit, MAX_READ)

        def read(db: Database) -> list[RunEvent]:
            stored, _ = _live(db, scope, run_id, self._clock())
            low = stored.key << SEQ_BITS | min(max(after, 0) + 1, MAX_STORED_SEQ)
            bounds = (low, stored.key << SEQ_BITS | MAX_STORED_SEQ, limit)
            return [RunEvent(n, body) for n, body in db.rows("read_events", bounds)]

        return await self._read(read)

    async def cancel_run(self, scope: Scope, run_id: str) -> Run:
        def cancel(write: Write) -> Run:
            now = self._clock()
            stored, session = _live(write.db, scope, run_id, now)
            if stored.run.status == "queued":
                return _end(write, stored, session, "cancelled", now)[0].run
            if stored.run.status == "running" and not stored.run.cancel_requested:
                stored = stored._replace(run=replace(stored.run, cancel_requested=True))
                _put(write.db, stored)
            return stored.run

        return await self._write(cancel)

    async def take_run(self, scope: Scope, run_id: str, *, lease: timedelta) -> Run | None:
        check_lease(lease)

        def take(write: Write) -> Run | None:
            now = self._clock()
            stored, session = _live(write.db, scope, run_id, now)
            run, record = stored.run, session.session
            if run.is_over or (run.status == "running" and now < run.lease_until):
                return None
            if run.status == "queued" and run_id != record.active_run_id:
                if run_id in record.queued_run_ids:
                    _put(write.db, stored._replace(run=replace(run, lease_until=now + lease)))
                else:
                    _end(write, stored, session, "interrupted", now)
                return None
            taken = replace(run, status="running", token=run.token + 1, lease_until=now + lease)
            _put(write.db, stored._replace(run=taken))
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

        def finish(write: Write) -> RunEnd:
            now = self._clock()
            stored, session = _live(write.db, scope, run_id, now)
            if stored.run.token != token or stored.run.status == "queued":
                raise LeaseLost(run_id)
            if not stored.run.is_over:
                stored = _store_events(write.db, stored, events)
                stored = stored._replace(run=replace(stored.run, message_seq=message_seq, error=error))
                stored, session = _end(write, stored, session, outcome, now)
            holder = _waiting_holder(write.db, session)
            return RunEnd(stored.run, None if holder is None else holder[1])

        return await self._write(finish)

    async def drop_events(self, scope: Scope, run_id: str) -> None:
        def check(db: Database) -> int:
            stored, _ = _live(db, scope, run_id, self._clock())
            if not stored.run.is_over:
                raise Conflict(f"run {run_id!r} is not over; its events are needed until it ends")
            return stored.key

        key = await self._read(check)
        while await self._write(lambda write: sweep_events(write, key, STEP_ROWS)):
            pass


def sweep_events(write: Write, run: int, most: int) -> int:
    """Remove up to `most` events of a run; return how many, fewer when none is left."""
    removed = remove_events(write.db, run, most)
    if removed < most:
        write.db.run("drop_has_events", (run,))
    if removed:
        write.wipe()
    return removed
