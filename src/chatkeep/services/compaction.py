"""Summaries made ahead of time, in the background, so that no answer ever waits for one."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from secrets import token_hex
from typing import NamedTuple

from chatkeep.domain.budgets import Budget, Calibration, ContextPolicy, ContextRequest, budget_of
from chatkeep.domain.errors import ChatkeepError, ModelError, NotFound, RevisionConflict
from chatkeep.domain.extraction import Line
from chatkeep.domain.folding import Entry, Job, entry_tokens, is_pinned, level_of, lines_of
from chatkeep.domain.jobs import covered_to, next_job, window_job
from chatkeep.domain.quoting import summary_tokens
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, to_ms
from chatkeep.domain.summaries import (
    MAX_SEGMENT_BYTES,
    Places,
    Segment,
    Summaries,
    freed,
    leased,
    placed,
    published,
    with_ready,
)
from chatkeep.domain.tokens import text_tokens
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import Store
from chatkeep.ports.summarizer import Summarizer, SummaryRequest
from chatkeep.services.recent import read_range
from chatkeep.services.retrying import retried
from chatkeep.services.summarising import Kept, SummaryShelf

LEASE = timedelta(seconds=120)
"""Longer than a summarizer may take; a dead worker's sessions wait so long."""
MAX_WAITING = 10_000
WORKERS = 4
MAX_STEPS = 100
"""So many segments are made for one session before it is another's turn."""
_READ = 1_000
_TURN_MESSAGES = 50
"""Turns of more messages than that may lack a window's summary until they are asked for."""
_ATTEMPTS = 20

_log = logging.getLogger(__name__)


class Made(NamedTuple):
    """What one step of the work was: `tokens` the summarizer has read, `written` those that it wrote."""

    method: str
    tokens: int
    written: int


class Compactor:
    """Makes the summaries that are due, one session after the other. Any number of processes may do the same.

    `notify` asks for a session; `work` runs until it is cancelled. A summarizer that fails changes nothing: the session
    gets a rest, longer after each failure, and contexts make do with extracts meanwhile. `fixed_tokens` tells what
    stands first in a session's prompts, and `on_made` is told of each segment.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        policy: ContextPolicy,
        summarizer: Summarizer,
        *,
        fixed_tokens: Callable[[Scope, str], int] = lambda _scope, _session_id: 0,
        on_made: Callable[[Made], None] = lambda _made: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._summarizer = summarizer
        self._summaries = SummaryShelf(store)
        self._fixed_tokens = fixed_tokens
        self._on_made = on_made
        self._name = token_hex(8)
        self._due: dict[tuple[Scope, str], None] = {}
        self._busy: set[tuple[Scope, str]] = set()
        self._wake = asyncio.Event()

    def notify(self, scope: Scope, session_id: str) -> None:
        """Have a look at the session soon. Never blocks; beyond MAX_WAITING sessions the oldest wish is dropped."""
        self._due.pop((scope, session_id), None)
        self._due[scope, session_id] = None
        if len(self._due) > MAX_WAITING:
            del self._due[next(iter(self._due))]
        self._wake.set()

    async def work(self) -> None:
        """Do what is due, for ever, for WORKERS sessions at a time. One session's trouble ends nobody else's turn."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            due = next((wish for wish in self._due if wish not in self._busy), None)
            if due is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            del self._due[due]
            self._busy.add(due)
            try:
                await self.compact(*due)
            except ChatkeepError as error:
                _log.info("summaries of a session wait: %s", error.code)
            except Exception as error:  # noqa: BLE001 -- a summarizer of somebody else's; its fault ends no other's turn
                _log.warning("summaries of a session wait: a summarizer failed with %s", type(error).__name__)
            finally:
                self._busy.discard(due)
                self._wake.set()  # a wish for the same session may have come meanwhile

    async def compact(self, scope: Scope, session_id: str) -> int:
        """Make the segments that are due for the session now, MAX_STEPS at most; return how many. Raises NotFound,
        Closed, StoreError.

        Nothing is due while another worker is at it, or during a rest after failures.
        """
        for made in range(MAX_STEPS):
            if not await self._step(scope, session_id):
                return made
        return MAX_STEPS

    async def _step(self, scope: Scope, session_id: str) -> bool:
        if not self._policy.summaries or self._policy.strategy not in ("anchored", "window_summary"):
            return False
        session = await retried(lambda: self._store.find_session(scope, session_id))
        if session is None:
            raise NotFound("session", session_id)
        kept = await self._summaries.get(scope, session)
        now_ms = to_ms(self._clock())
        mine = leased(kept.summaries, self._name, now_ms=now_ms, lease_ms=LEASE // timedelta(milliseconds=1))
        if mine is None:
            return False
        places = Places(session.path)
        job = await self._job(scope, session, places, kept.summaries)
        if job is None:
            return False
        try:
            kept = await self._summaries.put(scope, session, Kept(mine, kept.version))
        except RevisionConflict:
            return True  # somebody was faster; look again
        try:
            segment = await self._segment(scope, session, places, job, mine)
        except ModelError as error:
            _log.info("a summary was not made: %s", error.code)
            await self._release(scope, session, failed=True)
            return False
        except BaseException:
            await asyncio.shield(self._release(scope, session, failed=False))
            raise
        return await self._commit(scope, session, segment, mine)

    async def _job(self, scope: Scope, session: Session, places: Places, summaries: Summaries) -> Job | None:
        if self._policy.strategy == "window_summary":
            newest = 4 * (self._policy.recent + self._policy.summarised) + _TURN_MESSAGES
            entries = await self._entries(scope, session.id, places, max(0, places.count - newest), places.count)
            return window_job(places, entries, summaries, self._policy, method=self._summarizer.method)
        budget = self._budget()
        tail = await self._entries(scope, session.id, places, covered_to(places, summaries), places.count)
        refine = self._summarizer.method == "model"
        fixed = self._fixed_tokens(scope, session.id)
        return next_job(places, tail, summaries, budget, fixed_tokens=fixed, factor=Calibration().factor, refine=refine)

    def _budget(self) -> Budget:
        return budget_of(self._policy, ContextRequest(now=self._clock()))

    async def _entries(self, scope: Scope, session_id: str, places: Places, start: int, stop: int) -> list[Entry]:
        found: list[Entry] = []
        for low, high in places.seqs(start, stop):
            for first in range(low, high + 1, _READ):
                found += await read_range(self._store, scope, session_id, first, min(high, first + _READ - 1))
        return found

    async def _segment(self, scope: Scope, session: Session, places: Places, job: Job, summaries: Summaries) -> Segment:
        """Let the summarizer write. Raises ModelError, StoreError, NotFound."""
        chain = placed(published(summaries, places).published, places)
        previous = next((one.segment.text for one in chain if one.stop == job.start), "")
        entries: Sequence[Entry] = ()
        if job.parts:
            lines = [Line(part.first_seq, "", line) for part in job.parts for line in part.text.splitlines()]
            tokens = sum(part.source_tokens for part in job.parts)
            level = max(part.level for part in job.parts) + 1
            pins = tuple(pin for part in job.parts for pin in part.pins)
        else:
            entries = await self._entries(scope, session.id, places, job.start, job.stop)
            lines = lines_of(entries, without=summaries.redacted)
            tokens = sum(map(entry_tokens, entries))
            level = level_of(tokens, self._budget().chunk)
            pins = tuple(entry.seq for entry in entries if is_pinned(entry))
        read_tokens = math.ceil(sum(text_tokens(line.text) for line in lines))
        text = ""
        if lines:
            request = SummaryRequest(
                lines=lines,
                source_tokens=read_tokens,
                max_tokens=self._budget().segment,
                previous=previous,
                is_merge=bool(job.parts),
            )
            text = await self._summarizer.summarize(request)
        fitting = text.encode()[:MAX_SEGMENT_BYTES].decode(errors="ignore")
        written = math.ceil(text_tokens(fitting))
        self._on_made(Made(self._summarizer.method, read_tokens + math.ceil(text_tokens(previous)), written))
        return Segment(
            first_seq=places.seq(job.start),
            last_seq=places.seq(job.stop - 1),
            level=level,
            text=fitting,
            tokens=summary_tokens(places.seq(job.start), places.seq(job.stop - 1), fitting),
            source_tokens=tokens,
            method=self._summarizer.method,
            model=self._summarizer.name,
            pins=pins,
        )

    async def _commit(self, scope: Scope, session: Session, segment: Segment, began: Summaries) -> bool:
        """Keep the segment, unless something that it tells of was erased meanwhile, or the lease is lost."""
        for _ in range(_ATTEMPTS):
            current = await retried(lambda: self._store.find_session(scope, session.id))
            if current is None or current.incarnation != session.incarnation:
                return False
            kept = await self._summaries.get(scope, current)
            erased = kept.summaries.erased_since(began.epoch)
            if kept.summaries.lease_owner != self._name:
                return False
            done = freed(kept.summaries, failed=False, now_ms=to_ms(self._clock()))
            is_true = erased is not None and not any(map(segment.covers, erased))
            if is_true and segment.first_seq >= current.first_seq:
                if self._policy.strategy == "window_summary":
                    done = replace(done, window=segment)
                else:
                    done = with_ready(done, segment, Places(current.path))
            try:
                await self._summaries.put(scope, current, Kept(done, kept.version))
            except RevisionConflict:
                continue
            return True
        return False

    async def _release(self, scope: Scope, session: Session, *, failed: bool) -> None:
        now_ms = to_ms(self._clock())

        def step(summaries: Summaries) -> Summaries:
            if summaries.lease_owner != self._name:
                return summaries
            return freed(summaries, failed=failed, now_ms=now_ms)

        try:
            await self._summaries.change(scope, session.id, step)
        except ChatkeepError as error:
            _log.info("the lease on a session's summaries runs out by itself: %s", error.code)
