"""Runs: a hash for each, and a stream of its events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from chatkeep.domain.errors import Conflict, CorruptRecord, IdReused, Invalid, LeaseLost, NotFound
from chatkeep.domain.ids import check_id
from chatkeep.domain.limits import MAX_READ, check_limit
from chatkeep.domain.messages import to_us
from chatkeep.domain.runs import NewRun, Run, RunClaim, RunEnd, RunEvent, RunOutcome, RunSignal, begun
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, claimed, dump, is_gone, released
from chatkeep.stores.checks import MAX_SEQ, check_events, check_lease, check_new_run, check_outcome
from chatkeep.stores.races import Raced
from chatkeep.stores.records import run_from_fields, run_to_fields
from chatkeep.stores.redis.engine import ENDED, RUNNING, Change, Engine, Stored, new_mark
from chatkeep.stores.redis.names import ScopeNames
from chatkeep.stores.redis.records import put, remove, writable


class StoredRun(NamedTuple):
    """A run as it was read, and its mark. Events up to `dropped` are gone."""

    run: Run
    mark: bytes
    dropped: int


class RedisRuns(Engine):
    """The runs of sessions."""

    async def _find_run(self, names: ScopeNames, run_id: str) -> StoredRun | None:
        """Return a run of a session that is not purged. Raises CorruptRecord."""
        check_id(run_id, "run_id")
        text, mark, request = await self._ask("HMGET", names.run(run_id), "rec", "v", "req")
        if mark is None:
            return None
        try:
            fields = json.loads(text)
            run = run_from_fields(run_id, fields["inc"], (request or b"").decode(), fields)
            return StoredRun(run, mark, int(fields["dropped"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptRecord(f"a run's record cannot be decoded: {error!r}") from error

    async def _present_run(self, names: ScopeNames, run_id: str) -> tuple[StoredRun, Stored] | None:
        """Return a run and its session, which is not gone, live or trashed."""
        stored = await self._find_run(names, run_id)
        session = None if stored is None else await self._find(names, stored.run.session_id)
        if stored is None or session is None or is_gone(session.session, self._clock()):
            return None
        return (stored, session) if session.session.incarnation == stored.run.incarnation else None

    async def _live_run(self, names: ScopeNames, run_id: str) -> tuple[StoredRun, Stored]:
        """Return a run and its session, which is live. Raises NotFound."""
        found = await self._present_run(names, run_id)
        if found is None or found[1].session.state == "trashed":
            raise NotFound("run", run_id)
        return found

    async def claim_run(
        self, scope: Scope, session_id: str, new: NewRun, *, lease: timedelta, queue: bool = False
    ) -> RunClaim:
        check_new_run(session_id, new)
        check_lease(lease)
        names = self._of(scope)

        async def attempt() -> RunClaim:
            now = self._clock()
            stored = writable(await self._find(names, session_id), session_id, now)
            known = await self._find_run(names, new.id)
            gone: Stored | None = None
            if known is not None:
                mine = known.run.incarnation == stored.session.incarnation
                if mine and known.run.digest == new.digest:
                    await self._confirm(names, stored)
                    return RunClaim(known.run, attached=known.run.claimant != new.claimant)
                gone = await self._find(names, known.run.session_id)
                if mine or (gone is not None and not is_gone(gone.session, now)):
                    raise IdReused(new.id)
            record = claimed(stored.session, new.id, queue=queue)
            starts = record.active_run_id == new.id
            run = begun(new, session_id, record.incarnation, now, lease=lease, starts=starts)
            await self._note_work(RUNNING, names, run.id, to_us(run.lease_until))
            change = Change()
            change.require(names.run(run.id), "v", b"" if known is None else known.mark)
            if gone is not None:
                grave = await self._grave(names, gone.session.id, gone.mark)
                if grave is not None:
                    remove(change, names, grave)
            saved = put(change, names, stored, record)
            _put_run(change, names, StoredRun(run, b"", 0))
            change.do("HSET", names.run(run.id), "req", run.request)
            change.do("SADD", names.runs(session_id), run.id)
            self._forget(scope, session_id)
            await self._commit(change)
            self._remember(scope, saved)
            return RunClaim(run, attached=False)

        return await self._until_won(attempt)

    async def find_run(self, scope: Scope, run_id: str) -> Run | None:
        found = await self._present_run(self._of(scope), run_id)
        return None if found is None or found[1].session.state == "trashed" else found[0].run

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        check_events(run_id, events)
        check_lease(lease)
        names = self._of(scope)

        async def attempt() -> RunSignal:
            found = await self._present_run(names, run_id)
            if found is None:
                raise NotFound("run", run_id)
            stored, session = found
            run = stored.run
            if run.token != token or run.status != "running" or session.session.state == "trashed":
                return RunSignal(cancel=run.cancel_requested, lease_ok=False)
            change = Change()
            until = self._clock() + lease
            if until < run.lease_until:
                await self._note_work(RUNNING, names, run_id, to_us(until))
            grown = replace(run, last_event=_add_events(change, names, run, events), lease_until=until)
            await self._commit_run(change, names, stored, grown, session.session)
            return RunSignal(cancel=run.cancel_requested, lease_ok=True)

        return await self._until_won(attempt)

    async def _commit_run(
        self, change: Change, names: ScopeNames, stored: StoredRun, run: Run, session: Session
    ) -> None:
        """Write a run of a session that must still be in the state in which it was found. Raises Raced."""
        key = names.session(session.id)
        change.require(names.run(run.id), "v", stored.mark)
        change.require(key, "inc", session.incarnation.encode())
        change.require(key, "state", session.state.encode())
        _put_run(change, names, stored._replace(run=run))
        await self._commit(change)

    async def read_events(self, scope: Scope, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[RunEvent]:
        check_limit(limit, MAX_READ)
        names = self._of(scope)

        async def attempt() -> Sequence[RunEvent]:
            stored, _ = await self._live_run(names, run_id)
            first = max(after, stored.dropped) + 1
            last = min(stored.run.last_event, first + limit - 1)
            if first > last:
                return []
            entries = await self._ask("XRANGE", names.events(run_id), f"{first}-0", f"{last}-0")
            found = {int(entry.partition(b"-")[0]): fields[1].decode() for entry, fields in entries}
            missing = next((event for event in range(first, last + 1) if event not in found), None)
            if missing is not None:
                again, _ = await self._live_run(names, run_id)
                if again.mark != stored.mark:
                    raise Raced
                raise CorruptRecord(f"event {missing} of run {run_id!r} is missing")
            return [RunEvent(event, found[event]) for event in range(first, last + 1)]

        return await self._until_won(attempt)

    async def cancel_run(self, scope: Scope, run_id: str) -> Run:
        names = self._of(scope)

        async def attempt() -> Run:
            stored, session = await self._live_run(names, run_id)
            run = stored.run
            if run.status == "queued":
                return (await self._end(Change(), names, stored, session, run, "cancelled")).run
            if run.status != "running" or run.cancel_requested:
                await self._confirm(names, session)
                return run
            asked = replace(run, cancel_requested=True)
            await self._commit_run(Change(), names, stored, asked, session.session)
            return asked

        return await self._until_won(attempt)

    async def take_run(self, scope: Scope, run_id: str, *, lease: timedelta) -> Run | None:
        check_lease(lease)
        names = self._of(scope)

        async def attempt() -> Run | None:
            now = self._clock()
            stored, session = await self._live_run(names, run_id)
            run, record = stored.run, session.session
            if run.is_over or (run.status == "running" and now < run.lease_until):
                return None
            until = now + lease
            if until < run.lease_until:
                await self._note_work(RUNNING, names, run_id, to_us(until))
            taken = replace(run, status="running", token=run.token + 1, lease_until=until)
            if run.status == "queued" and run_id != record.active_run_id:
                if run_id not in record.queued_run_ids:
                    await self._end(Change(), names, stored, session, run, "interrupted")
                    return None
                taken = replace(run, lease_until=until)
            change = Change()
            change.require(names.session(record.id), "v", session.mark)
            await self._commit_run(change, names, stored, taken, record)
            return taken if taken.status == "running" else None

        return await self._until_won(attempt)

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
        names = self._of(scope)

        async def attempt() -> RunEnd:
            stored, session = await self._live_run(names, run_id)
            run = stored.run
            if run.token != token or run.status == "queued":
                raise LeaseLost(run_id)
            if run.is_over:
                await self._confirm(names, session)
                holder = await self._waiting_holder(names, session.session)
                return RunEnd(run, None if holder is None else holder.run.id)
            change = Change()
            last_event = _add_events(change, names, run, events)
            told = replace(run, last_event=last_event, message_seq=message_seq, error=error)
            return await self._end(change, names, stored, session, told, outcome)

        return await self._until_won(attempt)

    async def _end(
        self, change: Change, names: ScopeNames, stored: StoredRun, session: Stored, run: Run, outcome: RunOutcome
    ) -> RunEnd:
        """Decide the outcome; the next waiting run gets the slot, with a lease that is over. Raises Raced."""
        now = self._clock()
        ended = replace(run, status=outcome, finished_at=now, request="")
        freed = released(session.session, run.id)
        holder = await self._waiting_holder(names, freed)
        if holder is not None:
            change.require(names.run(holder.run.id), "v", holder.mark)
            if holder.run.lease_until > now:
                await self._note_work(RUNNING, names, holder.run.id, 0)
                holder = holder._replace(run=replace(holder.run, lease_until=now))
                _put_run(change, names, holder)
        if ended.last_event > stored.dropped:
            await self._note_work(ENDED, names, run.id, to_us(now))
        if freed == session.session:
            change.require(names.session(freed.id), "v", session.mark)
        else:
            session = put(change, names, session, freed)
        change.do("HDEL", names.run(run.id), "req")
        change.require(names.run(run.id), "v", stored.mark)
        _put_run(change, names, stored._replace(run=ended))
        self._forget(names.scope, freed.id)
        await self._commit(change)
        self._remember(names.scope, session)
        return RunEnd(ended, None if holder is None else holder.run.id)

    async def _waiting_holder(self, names: ScopeNames, session: Session) -> StoredRun | None:
        """Return the run that has the session's slot and does not work yet, if there is one."""
        if session.active_run_id is None:
            return None
        stored = await self._find_run(names, session.active_run_id)
        return stored if stored is not None and stored.run.status == "queued" else None

    async def drop_events(self, scope: Scope, run_id: str) -> None:
        names = self._of(scope)

        async def attempt() -> None:
            stored, session = await self._live_run(names, run_id)
            if not stored.run.is_over:
                raise Conflict(f"run {run_id!r} is not over; its events are needed until it ends")
            await self._drop(names, stored, session.session)

        await self._until_won(attempt)

    async def _drop(self, names: ScopeNames, stored: StoredRun, session: Session) -> int:
        """Remove the events of a run that is over; return how many. Raises Raced."""
        dropped = stored.run.last_event - stored.dropped
        if dropped:
            change = Change()
            change.do("UNLINK", names.events(stored.run.id))
            await self._commit_run(change, names, stored._replace(dropped=stored.run.last_event), stored.run, session)
        return dropped


def _put_run(change: Change, names: ScopeNames, stored: StoredRun) -> None:
    """Write a run, whose mark is compared elsewhere."""
    run = stored.run
    record = run_to_fields(run) | {"inc": run.incarnation, "dropped": stored.dropped}
    change.do("HSET", names.run(run.id), "rec", dump(record), "v", new_mark())


def _add_events(change: Change, names: ScopeNames, run: Run, events: Sequence[RunEvent]) -> int:
    """Add the events that are new to a change; return the number of the last that is stored then. Raises Invalid."""
    fresh = [event for event in events if event.n > run.last_event]
    if not fresh:
        return run.last_event
    if fresh[0].n != run.last_event + 1:
        raise Invalid(f"event {fresh[0].n} leaves a gap behind {run.last_event}", field="events")
    if fresh[-1].n > MAX_SEQ:
        raise Invalid(f"a run has at most {MAX_SEQ} events", field="events")
    for event in fresh:
        change.do("XADD", names.events(run.id), f"{event.n}-0", "b", event.body)
    return fresh[-1].n
