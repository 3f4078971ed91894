"""The stored events of a run that this process writes."""

from __future__ import annotations

import time
from datetime import timedelta

from chatkeep.domain.errors import LeaseLost, StoreError
from chatkeep.domain.limits import MAX_EVENTS
from chatkeep.domain.runs import Run, RunEnd, RunEvent, RunOutcome, RunSignal
from chatkeep.domain.scope import Scope
from chatkeep.ports.store import Store
from chatkeep.services.live import EventData, LiveRun, StreamEvent, decode_event, encode_event
from chatkeep.services.retrying import retried

HEARTBEAT_SECONDS = 5.0
CHECK_CANCEL_SECONDS = 0.3
MAX_DELTA_CHARS = 8_000
_GOOD = RunSignal(cancel=False, lease_ok=True)


class EventWriter:
    """Numbers events, stores them in batches, and keeps the lease.

    An event that was offered to the store keeps its number and body until the store has taken it, so that a repeat
    after an unknown outcome is harmless. While the store is away nothing is lost: the next `keep` offers it again.
    """

    def __init__(self, store: Store, scope: Scope, run: Run, live: LiveRun, lease: timedelta) -> None:
        self._store = store
        self._scope = scope
        self._run = run
        self._live = live
        self._lease = lease
        self._pending: list[RunEvent] = []
        self._n = run.last_event
        self._wrote_at = self._checked_at = time.monotonic()
        self.saved_chars = 0

    def add(self, type_: str, data: EventData) -> None:
        """Put an event behind all text said so far; it is stored by the next `keep` or `finish`."""
        self._gather_text()
        self._put(type_, data)

    def _put(self, type_: str, data: EventData) -> None:
        self._n += 1
        self._pending.append(encode_event(self._n, type_, data))

    def _gather_text(self) -> None:
        text = self._live.text
        while self.saved_chars < len(text):
            piece = text[self.saved_chars : self.saved_chars + MAX_DELTA_CHARS]
            self._put("delta", {"text": piece, "offset": self.saved_chars})
            self.saved_chars += len(piece)

    async def keep(self) -> RunSignal:
        """Store what has come since, or keep the lease alive; return what the store says of the run."""
        self._gather_text()
        now = time.monotonic()
        if self._pending or now - self._wrote_at >= HEARTBEAT_SECONDS:
            return await self._write()
        if now - self._checked_at >= CHECK_CANCEL_SECONDS:
            return await self._check()
        return _GOOD

    async def _write(self) -> RunSignal:
        try:
            return await self._offer()
        except StoreError as error:
            if not error.is_temporary:
                raise
            return _GOOD

    async def _offer(self) -> RunSignal:
        batch = self._pending[:MAX_EVENTS]
        signal = await self._store.append_events(
            self._scope, self._run.id, batch, token=self._run.token, lease=self._lease
        )
        self._wrote_at = self._checked_at = time.monotonic()
        if signal.lease_ok:
            self._publish(batch)
        return signal

    async def _check(self) -> RunSignal:
        try:
            run = await self._store.find_run(self._scope, self._run.id)
        except StoreError as error:
            if not error.is_temporary:
                raise
            return _GOOD
        self._checked_at = time.monotonic()
        if run is None or run.token != self._run.token:
            raise LeaseLost(self._run.id)
        return RunSignal(cancel=run.cancel_requested, lease_ok=True)

    def _publish(self, batch: list[RunEvent]) -> None:
        self._live.stored.extend(map(decode_event, batch))
        self._pending = self._pending[len(batch) :]
        self._live.notify()

    async def finish(self, outcome: RunOutcome, *, message_seq: int | None, error: str | None) -> RunEnd:
        """Store the rest and the outcome in one step. Raises LeaseLost, StoreError."""
        while len(self._pending) > MAX_EVENTS // 2:
            if not (await retried(self._offer)).lease_ok:
                raise LeaseLost(self._run.id)
        batch = self._pending
        end = await retried(
            lambda: self._store.finish_run(
                self._scope,
                self._run.id,
                outcome,
                token=self._run.token,
                events=batch,
                message_seq=message_seq,
                error=error,
            )
        )
        self._publish(batch)
        return end

    def tell_unstored(self, code: str) -> None:
        """Tell those who watch that the answer could not be stored; whoever picks the run up keeps what was."""
        self._live.stored.append(StreamEvent(None, "error", {"code": code}))
        self._live.stored.append(StreamEvent(None, "done", {"status": "failed", "durable": False}))
        self._live.notify()
