"""Runs: one generation of an answer, owned by a lease and not by a connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

RunStatus = Literal["queued", "running", "complete", "cancelled", "failed", "interrupted"]
RunOutcome = Literal["complete", "cancelled", "failed", "interrupted"]
OUTCOMES: tuple[RunOutcome, ...] = ("complete", "cancelled", "failed", "interrupted")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to claim. `request` is opaque text (at most 320 KiB of UTF-8) that its generator needs; `digest` tells a
    repeat of the same claim from another body under the same id. `claimant` is random and new for each claim, so that
    whoever repeats a claim after an unknown outcome recognises its own.
    """

    id: str
    request: str
    digest: bytes
    claimant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as stored.

    `token` is the lease's fencing number: each take-over raises it, and writes with a lower one are refused.
    `request` is emptied when the run ends. `last_event` is the number of the newest stored event, 0 for none.
    Times are kept to the millisecond at least.
    """

    id: str
    session_id: str
    incarnation: str
    """Of the session that the run belongs to."""
    status: RunStatus
    request: str
    digest: bytes
    claimant: str
    created_at: datetime
    finished_at: datetime | None
    token: int
    lease_until: datetime
    cancel_requested: bool
    message_seq: int | None
    error: str | None
    last_event: int

    @property
    def is_over(self) -> bool:
        """Whether the outcome is decided."""
        return self.status in OUTCOMES


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One stored event: `n` counts from 1 without gaps in its run; `body` is opaque text of at most 64 KiB of UTF-8."""

    n: int
    body: str


@dataclass(frozen=True, slots=True)
class RunClaim:
    """The outcome of a claim: `attached` when another claimant's call had made the run."""

    run: Run
    attached: bool


@dataclass(frozen=True, slots=True)
class RunSignal:
    """What every write of a run's owner learns: whether it shall stop, and whether it still is the owner."""

    cancel: bool
    lease_ok: bool


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A finished run, and the waiting one that has got the session's slot, if any."""

    run: Run
    next_run_id: str | None


def begun(new: NewRun, session_id: str, incarnation: str, now: datetime, *, lease: timedelta, starts: bool) -> Run:
    """Return a new run: one that `starts` has the slot of its session, any other waits for it."""
    return Run(
        id=new.id,
        session_id=session_id,
        incarnation=incarnation,
        status="running" if starts else "queued",
        request=new.request,
        digest=bytes(new.digest),
        claimant=new.claimant,
        created_at=now,
        finished_at=None,
        token=1 if starts else 0,
        lease_until=now + lease,
        cancel_requested=False,
        message_seq=None,
        error=None,
        last_event=0,
    )
