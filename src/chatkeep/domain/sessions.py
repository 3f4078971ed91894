"""Sessions: the durable record of one conversation, and every legal change of it as a pure function.

Engines store the record as they like and change it only through these functions (or a statement that does the same), so
that all engines agree on what a change means.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from chatkeep.domain.errors import Conflict, LimitExceeded, RevisionConflict, RunActive, SeqConflict
from chatkeep.domain.messages import JsonValue, from_us, to_us
from chatkeep.domain.paths import MAX_JUMPS, Jumps, Ranges, path_length, path_ranges

SessionState = Literal["active", "pinned", "unpinned", "archived", "trashed"]
SettableState = Literal["active", "pinned", "unpinned", "archived"]
TitleSource = Literal["auto", "model", "user"]

Hidden = Literal[0, 1, 2]
LISTED: Hidden = 0
HIDDEN_UNTIL_MESSAGE: Hidden = 1
"""The first message ends it; what an append creates begins so."""
HIDDEN_UNTIL_REVEAL: Hidden = 2
"""Messages leave it hidden; only `reveal` ends it."""

MAX_QUEUED_RUNS = 16


def to_ms(moment: datetime) -> int:
    """Return whole milliseconds since 1970 of an aware datetime."""
    return to_us(moment) // 1_000


def from_ms(milliseconds: int) -> datetime:
    """Return the aware UTC datetime of `milliseconds` since 1970."""
    return from_us(milliseconds * 1_000)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_ms(milliseconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What a session is created with.

    `created_at` is for imports; None, or the future, is the store's clock. A `hidden` session is in no list until its
    first message, or until `reveal`. `idle_ttl` None: it never expires.
    """

    title: str = ""
    title_source: TitleSource = "auto"
    state: SettableState = "active"
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    created_at: datetime | None = None
    idle_ttl: timedelta | None = None
    hidden: Hidden = LISTED


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPatch:
    """Settings to change; None leaves a setting as it is.

    A title of source `auto` or `model` never replaces one of source `user`: that part of the patch is then ignored.
    `metadata` replaces the whole object. `reveal` ends `hidden`. `idle_ttl` is applied when `set_idle_ttl` is true; a
    new one counts from now.
    """

    title: str | None = None
    title_source: TitleSource = "user"
    state: SettableState | None = None
    metadata: dict[str, JsonValue] | None = None
    reveal: bool = False
    set_idle_ttl: bool = False
    idle_ttl: timedelta | None = None


class Session(NamedTuple):
    """One conversation's record. Fields are used by name; times are also there as aware datetimes."""

    id: str
    incarnation: str
    """Tells a session from an earlier, purged one of the same id; never reused."""
    title: str
    title_source: TitleSource
    state: SessionState
    pinned_at_ms: int | None
    created_at_ms: int
    modified_at_ms: int
    """The newest activity, never lowered; changed by appends only."""
    idle_ttl_ms: int | None
    expires_at_ms: int | None
    """From this moment on the session is not found; None while it is pinned or has no idle_ttl."""
    trashed_from: SettableState | None
    """The state that `restore` gives back; set only in the trash."""
    trash_until_ms: int | None
    first_seq: int
    """Messages below are gone (cleared or pruned)."""
    last_seq: int
    """The newest assigned seq; 0 for none."""
    head_seq: int
    """The last message of the active path; 0 for an empty path."""
    jumps_json: str
    """See `paths`; `[]` for a session without branches."""
    active_run_id: str | None
    queued_runs_json: str
    """Ids of the runs that wait, oldest first."""
    revision: int
    """Counts changes of settings, from 1."""
    metadata_json: str
    hidden: Hidden
    """0: listed; 1: in no list until its first message; 2: in no list until `reveal`."""

    @property
    def created_at(self) -> datetime:
        """When it was created, or, imported, when the original was."""
        return from_ms(self.created_at_ms)

    @property
    def modified_at(self) -> datetime:
        """When it was last written to."""
        return from_ms(self.modified_at_ms)

    @property
    def pinned_at(self) -> datetime | None:
        """When it was pinned, if it is."""
        return _moment(self.pinned_at_ms)

    @property
    def expires_at(self) -> datetime | None:
        """When it will be gone, if nothing happens."""
        return _moment(self.expires_at_ms)

    @property
    def trash_until(self) -> datetime | None:
        """Until when it can be restored, if it is in the trash."""
        return _moment(self.trash_until_ms)

    @property
    def has_branches(self) -> bool:
        """Whether there are messages beside the first path."""
        return self.jumps_json != "[]"

    @property
    def jumps(self) -> Jumps:
        """The branch points."""
        if not self.has_branches:
            return ()
        return tuple((seq, parent) for seq, parent in json.loads(self.jumps_json))

    @property
    def queued_run_ids(self) -> tuple[str, ...]:
        """Runs that start, in this order, when the active one ends."""
        return tuple(json.loads(self.queued_runs_json))

    @property
    def metadata(self) -> dict[str, JsonValue]:
        """The caller's own values."""
        decoded: dict[str, JsonValue] = json.loads(self.metadata_json)
        return decoded

    @property
    def path(self) -> Ranges:
        """The seq ranges of the active path, ascending, inclusive."""
        return path_ranges(self.head_seq, self.jumps, self.first_seq)

    @property
    def message_count(self) -> int:
        """How many messages the active path holds."""
        return path_length(self.path)

    @property
    def pinned(self) -> bool:
        """Whether it stands at the top of the list."""
        return self.state == "pinned"


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def dump(value: Any) -> str:
    """Return compact JSON text."""
    return _encode(value)


def created(session_id: str, incarnation: str, new: NewSession, now: datetime, *, by_append: bool) -> Session:
    """Return the record of a new, empty session; one that an append creates is not listed before its first message."""
    now_ms = to_ms(now)
    created_ms = _past(new.created_at, now_ms)
    ttl_ms = None if new.idle_ttl is None else new.idle_ttl // timedelta(milliseconds=1)
    return Session(
        id=session_id,
        incarnation=incarnation,
        title=new.title,
        title_source=new.title_source,
        state=new.state,
        pinned_at_ms=now_ms if new.state == "pinned" else None,
        created_at_ms=created_ms,
        modified_at_ms=created_ms,
        idle_ttl_ms=ttl_ms,
        expires_at_ms=None if ttl_ms is None or new.state == "pinned" else now_ms + ttl_ms,
        trashed_from=None,
        trash_until_ms=None,
        first_seq=1,
        last_seq=0,
        head_seq=0,
        jumps_json="[]",
        active_run_id=None,
        queued_runs_json="[]",
        revision=1,
        metadata_json=dump(new.metadata),
        hidden=HIDDEN_UNTIL_MESSAGE if by_append and new.hidden == LISTED else new.hidden,
    )


def _past(given: datetime | None, now_ms: int) -> int:
    """Return a caller's time in milliseconds, neither before 1970 nor in the future; now if there is none."""
    return now_ms if given is None else min(max(to_ms(given), 0), now_ms)


def is_gone(session: Session, now: datetime) -> bool:
    """Return whether the session has expired, or its time in the trash is over: not found, final, its id free."""
    now_ms = to_ms(now)
    ends = session.trash_until_ms if session.state == "trashed" else session.expires_at_ms
    return ends is not None and now_ms >= ends


def is_live(session: Session, now: datetime) -> bool:
    """Return whether the session is found without asking for the trash: neither gone nor in it."""
    return session.state != "trashed" and not is_gone(session, now)


def _expires_ms(state: SessionState, ttl_ms: int | None, modified_ms: int, now_ms: int) -> int | None:
    """Count the idle time from now, or from the last activity when the clock has stepped back behind it."""
    return None if state == "pinned" or ttl_ms is None else max(now_ms, modified_ms) + ttl_ms


def _expiry(session: Session, now_ms: int) -> Session:
    ends = _expires_ms(session.state, session.idle_ttl_ms, session.modified_at_ms, now_ms)
    return session._replace(expires_at_ms=ends)


def patched(session: Session, patch: SessionPatch, now: datetime, *, expected_revision: int | None) -> Session:
    """Return the record with changed settings and the next revision; RevisionConflict if another was expected.

    A patch that changes nothing returns the session as it is, whatever was expected, so that a repeat is no conflict.
    """
    now_ms = to_ms(now)
    changed = session
    if patch.title is not None and (patch.title_source == "user" or session.title_source != "user"):
        changed = changed._replace(title=patch.title, title_source=patch.title_source)
    if patch.metadata is not None:
        changed = changed._replace(metadata_json=dump(patch.metadata))
    if patch.reveal:
        changed = changed._replace(hidden=LISTED)
    ttl_ms = None if patch.idle_ttl is None else patch.idle_ttl // timedelta(milliseconds=1)
    if patch.set_idle_ttl and ttl_ms != session.idle_ttl_ms:
        changed = _expiry(changed._replace(idle_ttl_ms=ttl_ms), now_ms)
    if patch.state is not None and patch.state != session.state:
        pinned_at = now_ms if patch.state == "pinned" else None
        changed = _expiry(changed._replace(state=patch.state, pinned_at_ms=pinned_at), now_ms)
    if changed == session:
        return session
    if expected_revision is not None and expected_revision != session.revision:
        raise RevisionConflict(expected=expected_revision, current=session.revision)
    return changed._replace(revision=session.revision + 1)


def appended(
    session: Session,
    count: int,
    now: datetime,
    *,
    expected_last_seq: int | None,
    parent_seq: int | None,
    active_at: datetime | None,
    idle_ttl: timedelta | None,
    title: str | None,
) -> Session:
    """Return the record after `count` >= 1 messages were added below `parent_seq` (None: the head).

    The first new message gets seq `last_seq + 1` and the parent; each next one follows its predecessor; the last
    becomes the head. `title` is taken, as `auto`, only while there is none. Raises SeqConflict.
    """
    if expected_last_seq is not None and expected_last_seq != session.last_seq:
        raise SeqConflict(f"expected the last seq to be {expected_last_seq}", last_seq=session.last_seq)
    parent = session.head_seq if parent_seq is None else parent_seq
    if parent_seq is not None:
        check_seq(session, parent_seq)
    first = session.last_seq + 1
    jumps_json = session.jumps_json
    if parent != first - 1:
        jumps = session.jumps
        if len(jumps) >= MAX_JUMPS:
            raise LimitExceeded("branches", actual=len(jumps) + 1, limit=MAX_JUMPS, unit="of one session; fork it")
        jumps_json = dump([*jumps, (first, parent)])
    now_ms = to_ms(now)
    last = session.last_seq + count
    ttl_ms = None if idle_ttl is None else idle_ttl // timedelta(milliseconds=1)
    modified_ms = max(session.modified_at_ms, _past(active_at, now_ms))
    untitled = not session.title and session.title_source != "user"
    return session._replace(
        title=title if title and untitled else session.title,
        modified_at_ms=modified_ms,
        idle_ttl_ms=ttl_ms,
        expires_at_ms=_expires_ms(session.state, ttl_ms, modified_ms, now_ms),
        last_seq=last,
        head_seq=last,
        jumps_json=jumps_json,
        hidden=LISTED if session.hidden == HIDDEN_UNTIL_MESSAGE else session.hidden,
    )


def check_seq(session: Session, seq: int) -> None:
    """Raise SeqConflict unless `seq` is 0 (before the first message) or still in the log."""
    if seq != 0 and not session.first_seq <= seq <= session.last_seq:
        raise SeqConflict(f"message {seq} is not in session {session.id!r}", last_seq=session.last_seq)


def with_head(
    session: Session, seq: int, *, expected_last_seq: int | None, expected_head_seq: int | None = None
) -> Session:
    """Return the record whose active path ends at `seq` (0: empty). Raises SeqConflict."""
    if expected_head_seq is not None and expected_head_seq != session.head_seq:
        raise SeqConflict(f"the head is {session.head_seq}, not {expected_head_seq}", last_seq=session.last_seq)
    if expected_last_seq is not None and expected_last_seq != session.last_seq:
        raise SeqConflict(f"expected the last seq to be {expected_last_seq}", last_seq=session.last_seq)
    check_seq(session, seq)
    return session._replace(head_seq=seq)


def pruned(session: Session, before_seq: int) -> Session:
    """Return the record in which every message below `before_seq` is gone, on every branch.

    Never lowers `first_seq`, never passes `last_seq + 1`. A head that is gone leaves an empty path.
    """
    first = max(session.first_seq, min(before_seq, session.last_seq + 1))
    if first == session.first_seq:
        return session
    jumps = [jump for jump in session.jumps if jump[0] >= first]
    head = session.head_seq if session.head_seq >= first else 0
    return session._replace(first_seq=first, head_seq=head, jumps_json=dump(jumps))


def trashed(session: Session, until: datetime) -> Session:
    """Return the record in the trash, restorable before `until`; one that is there already stays as it is."""
    if session.state == "trashed":
        return session
    return session._replace(
        state="trashed",
        trashed_from=session.state,
        trash_until_ms=to_ms(until),
        revision=session.revision + 1,
    )


def restored(session: Session, now: datetime) -> Session:
    """Return the record out of the trash in its former state, its idle time counted anew; else as it is."""
    if session.state != "trashed" or session.trashed_from is None:
        return session
    back = session._replace(
        state=session.trashed_from,
        trashed_from=None,
        trash_until_ms=None,
        revision=session.revision + 1,
    )
    return _expiry(back, to_ms(now))


def claimed(session: Session, run_id: str, *, queue: bool) -> Session:
    """Return the record with the run in its slot, or, if that is taken and `queue`, at the end of its queue.

    A run that is in either stays where it is. Raises RunActive, or Conflict when the queue is full.
    """
    waiting = session.queued_run_ids
    if run_id == session.active_run_id or run_id in waiting:
        return session
    if session.active_run_id is None:
        return session._replace(active_run_id=run_id)
    if not queue:
        raise RunActive(session.active_run_id)
    if len(waiting) >= MAX_QUEUED_RUNS:
        raise Conflict(f"{MAX_QUEUED_RUNS} runs wait already; send again when one has ended")
    return session._replace(queued_runs_json=dump([*waiting, run_id]))


def released(session: Session, run_id: str) -> Session:
    """Return the record without the run; when it held the slot, the oldest waiting run takes it."""
    waiting = [waiting for waiting in session.queued_run_ids if waiting != run_id]
    active = session.active_run_id
    if active == run_id:
        active = waiting.pop(0) if waiting else None
    return session._replace(active_run_id=active, queued_runs_json=dump(waiting))
