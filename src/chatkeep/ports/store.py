"""The store: the durable system of record. This docstring and those below are the contract of every engine.

**Scope.** Every call acts inside its first argument. What belongs to another scope does not exist: NotFound, the same
as for a missing one, and neither ids nor keys of different scopes ever meet. All names are compared byte for byte.

**Who is found.** A session is *gone* while `domain.sessions.is_gone` says so by the store's clock, judged at each call;
a gone session is not found by any call, and its id may be taken by a new incarnation, which sees nothing of the old.
Once it is purged or its id is taken, it is gone for good, though the clock step back. A session in the trash is found
only where a call says so; writing to it raises Closed.

**The log.** Stored messages never change, but for `annotate` and `redact`. Seq is given at the commit point: 1, 2, 3
… in the order of commits, without gaps, and never twice, whatever is popped, cleared or pruned. A reader that has
seen seq n never later finds a new message below it.

**Atomic.** Each call happens wholly or not at all, for every reader, and survives the process once it has returned.
Cancelling the caller leaves a call done or undone, and the store usable.

**Repeats.** A call that raised Timeout or was cancelled may have happened: repeat it unchanged. Every call of this
contract may be repeated: it ends in the same state as one.

**Errors.** Those named, and Unavailable, Timeout and CorruptRecord anywhere. Errors of the driver are chained.

**Reads** are strongly consistent, except the order of activity in `list_sessions` and `scope_version`, which may lag by
`MAX_LIST_LAG_SECONDS`.

**Time** is the clock the store was built with. **Arguments** are judged by `stores.checks` and the limits of
`domain.limits`, before anything stored is looked at: LimitExceeded or Invalid, and nothing is stored. A size is counted
as stored: a message has the bytes of its `stores.codec` body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from chatkeep.domain.messages import Feedback, Message, NewMessage, Unreadable
from chatkeep.domain.pages import Hit, HitPosition, Page, Receipt, SessionFilter, SessionPosition
from chatkeep.domain.runs import NewRun, Run, RunClaim, RunEnd, RunEvent, RunOutcome, RunSignal
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import NewSession, Session, SessionPatch

MAX_LIST_LAG_SECONDS = 2.0
REMEMBERED_KEYS = 128
"""At least so many of a session's latest idempotency keys are remembered."""


class Appended(NamedTuple):
    """The outcome of an append: where its messages stand, the session after it, and the messages as `read` shows them.

    `repeated`: this key and body had been stored before; the seqs are those of the first time, and `messages` is empty:
    they may have been redacted, cleared or pruned since.
    """

    first_seq: int
    last_seq: int
    session: Session
    repeated: bool
    messages: tuple[Message, ...] = ()


class State(NamedTuple):
    """One value kept beside a session. `version` counts its writes, from 1."""

    value: bytes
    version: int


class Sessions(Protocol):
    """The records of conversations."""

    async def create_session(self, scope: Scope, session_id: str, new: NewSession) -> Session:
        """Create the session, empty and, unless `new.hidden`, listed at once.

        Raises SessionExists for a live id and Closed for one in the trash.
        """

    async def ensure_session(self, scope: Scope, session_id: str, new: NewSession) -> tuple[Session, bool]:
        """Return the live session of that id and False, or create it from `new` and return it and True. Raises
        Closed.
        """

    async def find_session(self, scope: Scope, session_id: str, *, include_trashed: bool = False) -> Session | None:
        """Return the session; None if it is missing or gone, or trashed unless asked for. Hidden ones are found."""

    async def list_sessions(
        self, scope: Scope, where: SessionFilter, *, limit: int, after: SessionPosition | None = None
    ) -> Page[Session, SessionPosition]:
        """Return up to `limit` (1–200) sessions that `where` admits, none of them gone, and where to go on.

        Order: (pinned, modified_at_ms, id) descending, the id as UTF-8 bytes. The page begins strictly behind
        `after`, which need not exist any more: a session that did not move is shown by exactly one page. A page
        examines at most 1,000 records, so with a metadata filter it may be short, even empty, and yet have a `next`.
        Without one, a page that has a `next` is full; behind the last full page there may be an empty one.
        The cost of a page does not depend on how many sessions the scope has.
        """

    async def update_session(
        self, scope: Scope, session_id: str, patch: SessionPatch, *, expected_revision: int | None = None
    ) -> Session:
        """Apply `domain.sessions.patched` atomically and return the result. Raises NotFound, Closed,
        RevisionConflict.
        """

    async def trash_session(self, scope: Scope, session_id: str, *, until: datetime) -> Session:
        """Put the session into the trash (`domain.sessions.trashed`); no append begun later succeeds. Raises
        NotFound.
        """

    async def restore_session(self, scope: Scope, session_id: str) -> Session:
        """Take the session out of the trash; a live one is returned as it is. Raises NotFound once the trash time is
        over.
        """

    async def purge_session(self, scope: Scope, session_id: str, *, incarnation: str | None = None) -> Receipt:
        """Remove the session for good, trashed or live: record, messages, keys, state, runs, events, search entries.

        It is not found from the first moment on; rows go in bounded steps, and what a crash leaves,
        `Maintenance.sweep` removes. Returns what was removed. Raises NotFound if there is nothing, or another
        incarnation than the named one (a gone session is purged as well).
        """

    async def scope_version(self, scope: Scope) -> str:
        """Return an opaque text that differs after any change that a list or a transcript of the scope would show, and
        stays while nothing is written. The passing of time is no change.
        """


class Log(Protocol):
    """The append-only log of messages, one per session."""

    async def append(
        self,
        scope: Scope,
        session_id: str,
        messages: Sequence[NewMessage],
        *,
        idempotency_key: str,
        digest: bytes,
        expected_last_seq: int | None = None,
        parent_seq: int | None = None,
        create: NewSession | None = None,
        active_at: datetime | None = None,
        idle_ttl: timedelta | None = None,
        title: str | None = None,
        incarnation: str | None = None,
    ) -> Appended:
        """Store 1 to 100 messages, all or nothing, behind the last one; the change of the record is
        `sessions.appended`.

        `idempotency_key` (1–256 bytes) names this append in its session. If the key is remembered, nothing is stored:
        with the same `digest` (16–64 bytes, computed by the caller from what it was asked to store) the first result
        comes back, at the durability of the first; with another one, IdReused. That check comes before
        `expected_last_seq` and `parent_seq`. The session's latest REMEMBERED_KEYS keys, at least, are remembered,
        whatever is pruned or redacted.

        `create`: if the session is missing it is created first; an empty session, hidden until its first message, is
        a legal partial result of a crash, but an append that is refused creates nothing. Without it, NotFound. A
        session in the trash: Closed, for a repeat as well.
        `idle_ttl` becomes the session's; None: it does not expire. `title` is used while the session has none.
        With `incarnation`, a session of another one is NotFound.
        Raises SeqConflict, IdReused, Closed, NotFound, Invalid, LimitExceeded.
        """

    async def read(
        self,
        scope: Scope,
        session_id: str,
        *,
        after_seq: int = 0,
        before_seq: int | None = None,
        limit: int,
        newest_first: bool = False,
        path: Literal["active", "all"] = "active",
    ) -> Sequence[Message | Unreadable]:
        """Return up to `limit` (1–1,000) messages with after_seq < seq < before_seq, ascending, or descending if
        `newest_first`, which also decides from which end the limit counts.

        `active`: those of the active path; `all`: of every branch. Cleared and pruned ones are never returned. A row
        that cannot be decoded comes as Unreadable in its place. Raises NotFound.
        """

    async def select_head(
        self,
        scope: Scope,
        session_id: str,
        seq: int,
        *,
        expected_last_seq: int | None = None,
        expected_head_seq: int | None = None,
    ) -> Session:
        """Make the message `seq` (0: none) the end of the active path (`sessions.with_head`). Nothing is removed.

        Raises NotFound, Closed, SeqConflict.
        """

    async def prune(self, scope: Scope, session_id: str, *, before_seq: int) -> Session:
        """Let every message below `before_seq`, of all branches, be gone (`sessions.pruned`): at once for readers,
        while rows and their search entries are removed in bounded steps by this call or `Maintenance.sweep`.

        The caller chooses a border of turns; `last_seq + 1` or more clears the session. Raises NotFound, Closed.
        """

    async def annotate(self, scope: Scope, session_id: str, seq: int, feedback: Feedback | None) -> Message:
        """Set or remove the feedback of one message and return it.

        Raises NotFound (session, or message: never there, cleared, pruned, unreadable), Closed.
        """

    async def redact(self, scope: Scope, session_id: str, seq: int) -> Message:
        """Remove the content and the feedback of one message, keeping seq, role, status and time; return what is left.

        Works on an unreadable row, whose content is then empty as well. Raises NotFound, Closed.
        """


class States(Protocol):
    """Small values beside a session: agent toggles, adapter state."""

    async def get_state(self, scope: Scope, session_id: str, key: str) -> State | None:
        """Return the value under `key` (1–256 bytes), None if there is none. Raises NotFound for the session."""

    async def state_keys(self, scope: Scope, session_id: str) -> Sequence[str]:
        """Return the keys of all values of the session, ascending by code points. Raises NotFound."""

    async def put_state(
        self,
        scope: Scope,
        session_id: str,
        key: str,
        value: bytes,
        *,
        expected_version: int,
        incarnation: str | None = None,
    ) -> State:
        """Write `value` (at most 256 KiB) if the stored version is `expected_version` (0: none is stored).

        A repeat after an unknown outcome may find its own write as a RevisionConflict: read and compare.
        With `incarnation`, a session of another one is NotFound.
        Raises RevisionConflict, NotFound, Closed, LimitExceeded.
        """


class Runs(Protocol):
    """Generations of answers. A run belongs to a session's incarnation and goes with it.

    **The slot.** Where a run and its session cannot change in one step, a crash may leave a holder of the slot that is
    over or missing, a run that stands neither in slot nor queue, or a waiting one that is over. Each of claim, take,
    cancel and finish first passes such a slot on (`sessions.released`), never to a run that is over; the oldest waiting
    run comes before a new claim; and a claim whose run stands nowhere and is not over is completed by its repeat.
    """

    async def claim_run(
        self, scope: Scope, session_id: str, new: NewRun, *, lease: timedelta, queue: bool = False
    ) -> RunClaim:
        """Give the session's slot to a new run (`sessions.claimed`) with status `running` and token 1, or let it wait.

        If a run `new.id` exists in this session it is returned, `attached` unless `new.claimant` made it, whatever
        its status; with another digest, IdReused. Run ids are unique in their scope: one of another session that is
        not gone raises IdReused too. A slot whose holder is over is free. A waiting run has status `queued`, token 0,
        and a lease, which is its claimer's sign of life: while it waits, `take_run` extends it, and `append_events`
        and `finish_run` refuse it. Raises RunActive when the slot is taken and `queue` is false, Conflict for a full
        queue, NotFound, Closed.
        """

    async def find_run(self, scope: Scope, run_id: str) -> Run | None:
        """Return the run; None if it, or its session, is missing, gone or trashed."""

    async def append_events(
        self, scope: Scope, run_id: str, events: Sequence[RunEvent], *, token: int, lease: timedelta
    ) -> RunSignal:
        """Store events that continue at `last_event + 1` and extend the lease to now + `lease`; without events, only
        that.

        The events of a call are consecutive. One whose number is stored already is skipped, so that a repeat is
        harmless; a gap raises Invalid. When the lease has been taken over (one that is merely over still counts), or
        the run waits or is over, or its session is in the trash, nothing is stored and `lease_ok` is false. At most
        100 events and 1 MiB a call; of a call with more than 64 KiB, a reader or a crash may see only the first events.
        Raises NotFound, Invalid, LimitExceeded.
        """

    async def read_events(self, scope: Scope, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[RunEvent]:
        """Return up to `limit` (1–1,000) events with n > after, ascending. Raises NotFound, for
        a trashed session too.
        """

    async def cancel_run(self, scope: Scope, run_id: str) -> Run:
        """Ask the run to stop: its owner's next write learns it. A waiting run ends at once as `cancelled` and leaves
        the queue; one that is over is returned as it is. Raises NotFound.
        """

    async def take_run(self, scope: Scope, run_id: str, *, lease: timedelta) -> Run | None:
        """Take over a run: raise its token, make it `running`, extend the lease, and return it. Any number of callers
        may try; one of them gets it.

        Possible for a running run from `lease_until` on, and for a waiting run when it holds the session's slot.
        Otherwise None. A waiting run that neither holds the slot nor stands in the queue has lost its claim: it ends as
        `interrupted`, and None is returned; one that still waits has its lease extended. Raises NotFound.
        """

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
        """Store the last events (as `append_events`), the outcome and `finished_at`, empty the request, and give the
        slot to the next waiting run (`sessions.released`), whose lease is then over. `next_run_id` is the waiting run
        that has the slot now: whoever reads it takes it.

        A repeat by the same token returns the first outcome; LeaseLost when another token owns the run, or it waits.
        Raises NotFound, for a trashed session too.
        """

    async def drop_events(self, scope: Scope, run_id: str) -> None:
        """Remove all events of a run that is over; nothing to remove is fine. Raises Conflict while it is not over, and
        NotFound.
        """


class Store(Sessions, Log, States, Runs, Protocol):
    """What user routes may reach: everything inside a scope."""

    @property
    def engine(self) -> str:
        """The engine's name and version for people, such as `SQLite 3.54.1`."""

    async def erase_scope(self, scope: Scope) -> Receipt:
        """Remove everything of the scope for good: live, archived, hidden, trashed, gone. What is created while it
        works may stay. Returns what was removed; empty counts when there was nothing.
        """

    async def ping(self) -> None:
        """Return if the engine answers and its schema is the one this release needs; raise Unavailable or
        NotSupported.
        """

    async def close(self) -> None:
        """Release everything; repeatable. Later calls raise Unavailable."""


class Maintenance(Protocol):
    """The unscoped side, for the janitor and the command line; never reachable from user routes."""

    async def iter_scopes(self, *, after: Scope | None = None, limit: int = 100) -> Sequence[Scope]:
        """Return up to `limit` scopes that hold a session, in an order of the engine's own, behind `after`."""

    async def count_sessions(self, *, most: int = 10_000) -> int:
        """Return how many sessions are live and listed, in all scopes, counting up to `most`."""

    async def due_sessions(self, *, limit: int = 100) -> Sequence[tuple[Scope, str, str]]:
        """Return up to `limit` gone sessions as (scope, session id, incarnation)."""

    async def purge_gone(self, scope: Scope, session_id: str, incarnation: str) -> Receipt:
        """Purge that incarnation if it is still gone; otherwise do nothing and return empty counts."""

    async def expired_runs(self, *, limit: int = 100) -> Sequence[tuple[Scope, str]]:
        """Return up to `limit` runs of live sessions that are not over and whose lease is, as (scope, run id)."""

    async def sweep(self, *, events_before: datetime, limit: int = 1_000) -> int:
        """Remove up to about `limit` rows that nothing reaches any more: below `first_seq`, of purged incarnations,
        and the events of runs that were finished before `events_before`. Returns how many; 0 when there is nothing
        left.
        """

    async def schema(self) -> Mapping[str, str]:
        """Return facts about the stored schema for `doctor` and `migrate`: at least `version` and `wanted`, and
        `clock_us`, microseconds since 1970 by the server's own clock, if it has one.
        """


class SearchIndex(Protocol):
    """A capability: full-text search inside the engine. Without it, search is a bounded scan above the store."""

    async def search(
        self, scope: Scope, words: Sequence[str], *, limit: int, after: HitPosition | None = None
    ) -> Page[Hit, HitPosition]:
        """Return up to `limit` (1–100) hits of the active and archived sessions, newest first (see HitPosition).

        `words` are 1 to 16 tokens of `domain.search.words`; a text or title matches when it holds all of them, the
        last one as a prefix. Redacted, cleared, pruned, hidden and gone content is never found; other branches are.
        """
