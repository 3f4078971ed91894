"""Arguments, judged alike by every engine and before anything stored is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from chatkeep.domain.errors import Invalid
from chatkeep.domain.ids import MESSAGE_UID_BYTES, check_id
from chatkeep.domain.limits import (
    MAX_BATCH_BYTES,
    MAX_COMMENT_CHARS,
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    MAX_METADATA_BYTES,
    MAX_REQUEST_BYTES,
    MAX_STATE_BYTES,
    MAX_TITLE_CHARS,
    check_json,
    check_size,
    check_text,
)
from chatkeep.domain.messages import ROLES, STATUSES, Feedback, NewMessage
from chatkeep.domain.runs import OUTCOMES, NewRun, RunEvent, RunOutcome
from chatkeep.domain.sessions import NewSession, SessionPatch, dump

MIN_DIGEST_BYTES = 16
MAX_DIGEST_BYTES = 64
MAX_SEQ = 2**53
"""Numbers above it are no seqs; every engine and every client can hold those below."""


def check_title(title: str) -> None:
    """Raise Invalid or LimitExceeded for a title that is no text or too long."""
    check_text(title, "title")
    check_size("title", len(title), MAX_TITLE_CHARS, "characters")


def check_metadata(metadata: Any) -> None:
    """Raise Invalid or LimitExceeded unless `metadata` is a JSON object of bounded size."""
    if type(metadata) is not dict:
        raise Invalid(f"metadata must be a JSON object, not {type(metadata).__name__}", field="metadata")
    if not metadata:
        return
    check_json(metadata, "metadata")
    check_size("metadata", len(dump(metadata).encode()), MAX_METADATA_BYTES)


def check_moment(moment: datetime | None, field: str) -> None:
    """Raise Invalid for a datetime without a time zone."""
    if moment is not None and moment.utcoffset() is None:
        raise Invalid(f"{field} has no time zone; give an aware datetime", field=field)


def check_ttl(ttl: timedelta | None) -> None:
    """Raise Invalid for an idle time that is not positive, or longer than 100 years."""
    if ttl is not None and not timedelta(milliseconds=1) <= ttl <= timedelta(days=36_525):
        raise Invalid(f"idle_ttl must be between 1 ms and 100 years, not {ttl}", field="idle_ttl")


def check_new_session(session_id: str, new: NewSession) -> None:
    """Judge what a session is created with."""
    check_id(session_id, "session_id")
    check_title(new.title)
    check_metadata(new.metadata)
    check_moment(new.created_at, "created_at")
    check_ttl(new.idle_ttl)


def check_patch(patch: SessionPatch) -> None:
    """Judge a change of settings."""
    if patch.title is not None:
        check_title(patch.title)
    if patch.metadata is not None:
        check_metadata(patch.metadata)
    check_ttl(patch.idle_ttl)


def check_digest(digest: bytes) -> None:
    """Raise Invalid unless `digest` has 16 to 64 bytes."""
    if not MIN_DIGEST_BYTES <= len(digest) <= MAX_DIGEST_BYTES:
        raise Invalid(f"digest must have 16 to 64 bytes, not {len(digest)}", field="digest")


def check_append(
    session_id: str,
    messages: Sequence[NewMessage],
    idempotency_key: str,
    digest: bytes,
    *,
    create: NewSession | None,
    active_at: datetime | None,
    title: str | None,
    idle_ttl: timedelta | None = None,
) -> None:
    """Judge all arguments of an append except for the bodies, which `codec.encode_batch` judges."""
    check_id(session_id, "session_id")
    check_id(idempotency_key, "idempotency_key")
    check_digest(digest)
    check_moment(active_at, "active_at")
    check_ttl(idle_ttl)
    if title is not None:
        check_title(title)
    if create is not None:
        check_new_session(session_id, create)
    for message in messages:
        if message.role not in ROLES:
            raise Invalid(f"unknown role {message.role!r}; known are {', '.join(ROLES)}", field="role")
        if message.status not in STATUSES:
            raise Invalid(f"unknown status {message.status!r}; known are {', '.join(STATUSES)}", field="status")
        check_moment(message.created_at, "created_at")
        if message.uid is not None and len(message.uid) != MESSAGE_UID_BYTES:
            raise Invalid(f"uid must have {MESSAGE_UID_BYTES} bytes, not {len(message.uid)}", field="uid")


def check_feedback(feedback: Feedback | None) -> None:
    """Judge a reader's judgement."""
    if feedback is None:
        return
    if feedback.rating not in ("up", "down", None):
        raise Invalid(f"rating must be up or down, not {feedback.rating!r}", field="rating")
    if feedback.comment is not None:
        check_text(feedback.comment, "comment")
        check_size("comment", len(feedback.comment), MAX_COMMENT_CHARS, "characters")


def check_state(key: str, value: bytes) -> None:
    """Judge a value kept beside a session."""
    check_id(key, "key")
    check_size("state", len(value), MAX_STATE_BYTES)


def check_new_run(session_id: str, new: NewRun) -> None:
    """Judge a run to claim."""
    check_id(session_id, "session_id")
    check_id(new.id, "run_id")
    check_id(new.claimant, "claimant")
    check_digest(new.digest)
    check_text(new.request, "request")
    check_size("request", len(new.request.encode()), MAX_REQUEST_BYTES)


def check_events(run_id: str, events: Sequence[RunEvent]) -> None:
    """Judge events: bounded, and numbered consecutively from 1 or more."""
    check_id(run_id, "run_id")
    check_size("events in one call", len(events), MAX_EVENTS, "events")
    total = 0
    for event in events:
        check_text(event.body, "event")
        size = len(event.body.encode())
        check_size("event", size, MAX_EVENT_BYTES)
        total += size
    check_size("events", total, MAX_BATCH_BYTES)
    numbers = [event.n for event in events]
    if numbers and (numbers[0] < 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers)))):
        raise Invalid(f"events must be numbered one after the other from 1 on, not {numbers}", field="events")


def check_outcome(outcome: RunOutcome, error: str | None) -> None:
    """Judge the end of a run."""
    if outcome not in OUTCOMES:
        raise Invalid(f"unknown outcome {outcome!r}; known are {', '.join(OUTCOMES)}", field="outcome")
    if error is not None:
        check_text(error, "error")


def check_lease(lease: timedelta) -> None:
    """Raise Invalid for a lease that is not positive."""
    if lease <= timedelta(0):
        raise Invalid(f"lease must be positive, not {lease}", field="lease")
