"""Retention at work: what policies let go, and what crashes left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from chatkeep.domain.errors import ChatkeepError, Closed, CorruptRecord, NotFound
from chatkeep.domain.messages import Message, Unreadable, to_us
from chatkeep.domain.pages import Receipt, SessionFilter
from chatkeep.domain.policies import RetentionPolicies, RetentionPolicy
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session, SessionPatch
from chatkeep.domain.turns import prune_border, turn_starts
from chatkeep.ports.clock import Clock
from chatkeep.ports.store import Maintenance, Store
from chatkeep.services.arrivals import arrived_at
from chatkeep.services.erasure import Erasure

KEEP_EVENTS = timedelta(hours=1)
RUN_CHECK_SECONDS = 2.0
_SWEEP_STEP = 1_000
_READ_STEP = 1_000
_LOOK_AHEAD = 200
"""So many messages behind a border are looked at, lest it stand between a tool call and its result."""
_LONGEST_PAUSE_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class CleanupReport:
    """What one cleanup did. `finished` is false when it stopped at its bound with work left."""

    purged_sessions: int = 0
    trashed_sessions: int = 0
    pruned_messages: int = 0
    swept_rows: int = 0
    finished: bool = True
    removed: Receipt = field(default_factory=lambda: Receipt({}))


class RetentionService:
    """Applies each app's policy. Every step is bounded, repeatable, and harmless beside other cleaners."""

    def __init__(self, store: Store, maintenance: Maintenance, clock: Clock, policies: RetentionPolicies) -> None:
        self._store = store
        self._maintenance = maintenance
        self._clock = clock
        self._policies = policies
        self._erasure = Erasure(store)
        self._applied_to: Scope | None = None
        self._applied_to_all = False

    async def cleanup(
        self, *, most: int = 10_000, progress: Callable[[CleanupReport], None] | None = None
    ) -> CleanupReport:
        """Purge what is gone, apply the policies to live sessions, remove unreachable rows; about `most` of each."""
        report = CleanupReport()
        tell = progress or (lambda _report: None)
        await self._purge(report, most, tell)
        await self._apply(report, most, tell)
        await self._sweep(report, most, tell)
        return report

    async def apply(self, scope: Scope, session: Session) -> int:
        """Prune a live session by the policy of its app; return how many messages went."""
        report = CleanupReport()
        policy = replace(self._policies.of(scope.app), keep_last_sessions=None)
        await self._apply_to_session(scope, session, policy, 0, report)
        return report.pruned_messages

    async def _purge(self, report: CleanupReport, most: int, tell: Callable[[CleanupReport], None]) -> None:
        while due := await self._maintenance.due_sessions(limit=100):
            before = report.purged_sessions
            for scope, session_id, incarnation in due:
                try:
                    receipt = await self._maintenance.purge_gone(scope, session_id, incarnation)
                except CorruptRecord:
                    _log.warning("a session that is gone cannot be purged: its record cannot be read")
                    continue
                report.removed += receipt
                report.purged_sessions += receipt.removed.get("sessions", 0)
                tell(report)
            if report.purged_sessions >= most or report.purged_sessions == before:
                report.finished = False
                return

    async def _apply(self, report: CleanupReport, most: int, tell: Callable[[CleanupReport], None]) -> None:
        """Go on behind the scope where the last cleanup stopped, so that every scope has its turn.

        Policies that only tell how long an idle session lives are applied once: sessions get it when they are written.
        """
        if self._applied_to_all and not self._policies.work_on_live_sessions:
            return
        seen = 0
        while scopes := await self._maintenance.iter_scopes(after=self._applied_to, limit=100):
            for scope in scopes:
                seen += await self._apply_to(scope, report)
                self._applied_to = scope
                tell(report)
                if seen >= most:
                    report.finished = False
                    return
        self._applied_to = None
        self._applied_to_all = True

    async def _apply_to(self, scope: Scope, report: CleanupReport) -> int:
        policy = self._policies.of(scope.app)
        kept = 0
        seen = 0
        position = None
        while True:
            page = await self._store.list_sessions(
                scope, SessionFilter(include_archived=True), limit=100, after=position
            )
            for session in page.items:
                seen += 1
                kept += not session.pinned
                try:
                    await self._apply_to_session(scope, session, policy, kept, report)
                except (NotFound, Closed):
                    continue
                except CorruptRecord:
                    _log.warning("retention passes over a session: a record of it cannot be read")
            if page.next is None:
                return seen
            position = page.next

    async def _apply_to_session(
        self, scope: Scope, session: Session, policy: RetentionPolicy, rank: int, report: CleanupReport
    ) -> None:
        if policy.keep_last_sessions is not None and not session.pinned and rank > policy.keep_last_sessions:
            await self._store.trash_session(scope, session.id, until=self._clock() + policy.trash)
            report.trashed_sessions += 1
            return
        ttl = None if policy.idle_ttl is None else policy.idle_ttl // timedelta(milliseconds=1)
        if session.idle_ttl_ms != ttl:
            await self._store.update_session(
                scope, session.id, SessionPatch(set_idle_ttl=True, idle_ttl=policy.idle_ttl)
            )
        if policy.prunes and session.active_run_id is None:
            border = await self._border(scope, session, policy)
            if border is not None:
                after = await self._erasure.prune(scope, session.id, before_seq=border)
                report.pruned_messages += after.first_seq - session.first_seq

    async def _border(self, scope: Scope, session: Session, policy: RetentionPolicy) -> int | None:
        """Return the seq below which the policy lets whole turns of the active path go; None for nothing."""
        by_count = by_age = 0
        if policy.max_messages is not None:
            by_count = await self._border_by_count(scope, session, policy.max_messages)
        if policy.max_age is not None:
            by_age = await self._border_by_age(scope, session, policy.max_age)
        border = max(by_count, by_age)
        return border if border > session.first_seq else None

    async def _border_by_count(self, scope: Scope, session: Session, most: int) -> int:
        surplus = session.message_count - most
        if surplus <= 0:
            return 0
        oldest: list[Message | Unreadable] = []
        while True:
            wanted = max(surplus, len(oldest)) + _LOOK_AHEAD
            is_whole = await self._read_on(scope, session.id, oldest, wanted)
            keep = most if is_whole else len(oldest) - surplus
            border = prune_border(oldest, keep=keep)
            if border is not None or is_whole:
                return border or 0

    async def _border_by_age(self, scope: Scope, session: Session, max_age: timedelta) -> int:
        horizon = to_us(self._clock() - max_age)
        oldest: list[Message | Unreadable] = []
        is_whole = await self._read_on(scope, session.id, oldest, 1)
        if not oldest or _is_younger(oldest[0], horizon):
            return 0
        arrived = await arrived_at(self._store, scope, session.id)
        if arrived is not None and to_us(arrived) >= horizon:
            return 0
        young: int | None = None
        looked = 0
        while young is None and not is_whole:
            is_whole = await self._read_on(scope, session.id, oldest, len(oldest) + _READ_STEP)
            young = next((at for at in range(looked, len(oldest)) if _is_younger(oldest[at], horizon)), None)
            looked = len(oldest)
        if young is None:
            return oldest[-1].seq + 1
        await self._read_on(scope, session.id, oldest, young + _LOOK_AHEAD)
        return max(start for start in turn_starts(oldest) if start <= oldest[young].seq)

    async def _read_on(self, scope: Scope, session_id: str, oldest: list[Message | Unreadable], wanted: int) -> bool:
        """Extend `oldest` to `wanted` messages of the path, or to its end, and then return True."""
        while len(oldest) < wanted:
            after = oldest[-1].seq if oldest else 0
            limit = min(wanted - len(oldest), _READ_STEP)
            page = await self._store.read(scope, session_id, after_seq=after, limit=limit)
            oldest.extend(page)
            if len(page) < limit:
                return True
        return False

    async def _sweep(self, report: CleanupReport, most: int, tell: Callable[[CleanupReport], None]) -> None:
        while removed := await self._maintenance.sweep(events_before=self._clock() - KEEP_EVENTS, limit=_SWEEP_STEP):
            report.swept_rows += removed
            tell(report)
            if report.swept_rows >= most:
                report.finished = False
                return


def _is_younger(entry: Message | Unreadable, horizon_us: int) -> bool:
    return isinstance(entry, Message) and entry.created_at_us >= horizon_us


class Janitor:
    """The background step of a server: looks for runs without an owner often, and cleans up now and then."""

    def __init__(
        self,
        retention: RetentionService,
        maintenance: Maintenance,
        pick_up: Callable[[Scope, str], Awaitable[None]],
        *,
        every: float,
    ) -> None:
        self._retention = retention
        self._maintenance = maintenance
        self._pick_up = pick_up
        self._every_seconds = every

    async def work(self) -> None:
        """Work until cancelled. A fault is logged, and the next try waits longer, up to half a minute."""
        loop = asyncio.get_running_loop()
        pause = RUN_CHECK_SECONDS
        next_cleanup = loop.time()
        while True:
            try:
                for scope, run_id in await self._maintenance.expired_runs():
                    await self._end(scope, run_id)
                if loop.time() >= next_cleanup:
                    await self._retention.cleanup()
                    next_cleanup = loop.time() + self._every_seconds
                pause = RUN_CHECK_SECONDS
            except ChatkeepError as error:
                _log.warning("cleaning up failed: %s; trying again", error.code)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 -- logged whole; without a janitor no run would be ended any more
                _log.exception("cleaning up failed; trying again")
                pause = _LONGEST_PAUSE_SECONDS
            await asyncio.sleep(pause)

    async def _end(self, scope: Scope, run_id: str) -> None:
        try:
            await self._pick_up(scope, run_id)
        except ChatkeepError as error:
            _log.warning("run %s could not be picked up: %s", run_id, error.code)
