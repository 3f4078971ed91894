"""The lines of an export: how sessions and messages are written, and what is accepted when they are read.

The format is described in docs/reference/jsonl.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast, get_args

from chatkeep.domain.checks import check_messages
from chatkeep.domain.errors import Invalid
from chatkeep.domain.ids import check_id
from chatkeep.domain.limits import (
    KIB,
    MAX_COMMENT_CHARS,
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    MAX_TITLE_CHARS,
    check_json,
    check_size,
    check_text,
)
from chatkeep.domain.messages import (
    ROLES,
    STATUSES,
    Content,
    Feedback,
    Foreign,
    JsonValue,
    Message,
    MessageStatus,
    NewMessage,
    Role,
    Unreadable,
)
from chatkeep.domain.paths import parent_of
from chatkeep.domain.sessions import Session, SettableState, TitleSource, dump
from chatkeep.domain.wire import content_to_json
from chatkeep.services.batches import content_text
from chatkeep.services.contents import read_content

VERSION = 1
MAX_LINE_BYTES = 2 * 1024 * KIB

_CONTENT_FIELDS = frozenset(Content.__dataclass_fields__)
_MESSAGE_FIELDS = frozenset(
    ("kind", "session_id", "seq", "parent_seq", "id", "role", "status", "created_at", "feedback", "redacted")
)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session line. None: the line does not say."""

    id: str
    title: str | None = None
    title_source: TitleSource = "auto"
    state: SettableState = "active"
    created_at: datetime | None = None
    modified_at: datetime | None = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    head_seq: int | None = None
    first_seq: int | None = None
    last_seq: int | None = None


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message line. `seq` and `parent_seq` are those of the export; None: next to the line before, and below it.

    `plain`: a line of a conversation file, not of an export. `unreadable`: the export could not read the message; only
    its place is known, and `new` is empty. `id`: the one that the exporting store gave.
    """

    session_id: str | None
    seq: int | None
    parent_seq: int | None
    new: NewMessage
    feedback: Feedback | None = None
    redacted: bool = False
    plain: bool = False
    unreadable: bool = False
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be used; `begins_session`: it was to be a session line, of `session_id` if that is known."""

    reason: str
    begins_session: bool = False
    session_id: str | None = None


Record = SessionRecord | MessageRecord | Fault


def session_line(session: Session) -> str:
    """Return the line of a session, without a line end."""
    return dump(
        {
            "kind": "session",
            "version": VERSION,
            "id": session.id,
            "title": session.title,
            "title_source": session.title_source,
            "state": session.state,
            "pinned_at": None if session.pinned_at is None else _moment_text(session.pinned_at),
            "created_at": _moment_text(session.created_at),
            "modified_at": _moment_text(session.modified_at),
            "metadata": session.metadata,
            "head_seq": session.head_seq,
            "first_seq": session.first_seq,
            "last_seq": session.last_seq,
        }
    )


def message_line(session: Session, entry: Message | Unreadable) -> str:
    """Return the line of a message, without a line end."""
    place = {"kind": "message", "session_id": session.id, "seq": entry.seq}
    if isinstance(entry, Unreadable):
        gap = {**place, "kind": "unreadable", "parent_seq": parent_of(entry.seq, session.jumps), "reason": entry.reason}
        return dump(gap)
    fields: dict[str, JsonValue] = {
        **place,
        "parent_seq": entry.parent_seq,
        "id": entry.id,
        "role": entry.role,
        "status": entry.status,
        "created_at": _moment_text(entry.created_at),
        **content_to_json(entry.content),
    }
    if entry.feedback_json is not None:
        fields["feedback"] = json.loads(entry.feedback_json)
    if entry.redacted:
        fields["redacted"] = True
    escape = any(type(part) is Foreign for part in entry.parts)
    return json.dumps(fields, ensure_ascii=escape, separators=(",", ":"), allow_nan=False)


def _moment_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_line(line: str) -> Record | None:
    """Return what a line says; None for a blank one."""
    if not line or line.isspace():
        return None
    try:
        check_size("line", len(line.encode(errors="surrogatepass")), MAX_LINE_BYTES)
        value = json.loads(line)
    except Invalid as error:
        return Fault(str(error))
    except (ValueError, RecursionError) as error:
        return Fault(f"not JSON: {error}")
    if not isinstance(value, dict):
        return Fault("not a JSON object")
    begins_session = value.get("kind") == "session"
    try:
        return _session(value) if begins_session else _entry(value)
    except Invalid as error:
        named = value.get("id") if begins_session else value.get("session_id")
        return Fault(str(error), begins_session, named if isinstance(named, str) else None)


def _entry(value: dict[str, JsonValue]) -> MessageRecord:
    kind = value.get("kind")
    if kind is None and "role" in value:
        return _plain(value)
    if kind not in ("message", "unreadable"):
        raise Invalid("neither a session nor a message: a line needs a kind, or a role and a content")
    if value.get("session_id") is None or value.get("seq") is None:
        raise Invalid("a message of an export needs its session_id and its seq")
    if kind == "message":
        return _message(value)
    gap = _record({**value, "role": "system"}, Content())
    return replace(gap, unreadable=True)


def _session(value: dict[str, JsonValue]) -> SessionRecord:
    version = value.get("version", VERSION)
    if version != VERSION:
        raise Invalid(
            f"version {version!r} of the format is unknown here; this release reads {VERSION}", field="version"
        )
    title, metadata = _text(value, "title"), _object(value, "metadata")
    check_json(metadata, "metadata")
    check_size("metadata", len(dump(metadata).encode()), MAX_METADATA_BYTES)
    check_size("title", len(title or ""), MAX_TITLE_CHARS, "characters")
    return SessionRecord(
        id=check_id(cast("Any", value.get("id")), "id"),
        title=title,
        title_source=cast("TitleSource", _choice(value, "title_source", get_args(TitleSource), "auto")),
        state=cast("SettableState", _choice(value, "state", get_args(SettableState), "active")),
        created_at=_moment(value, "created_at"),
        modified_at=_moment(value, "modified_at"),
        metadata=metadata,
        head_seq=_seq(value, "head_seq"),
        first_seq=_seq(value, "first_seq"),
        last_seq=_seq(value, "last_seq"),
    )


def _message(value: dict[str, JsonValue]) -> MessageRecord:
    unknown = value.keys() - _MESSAGE_FIELDS - _CONTENT_FIELDS
    if unknown:
        raise Invalid(f"a message has no field {min(unknown)!r}")
    content = read_content({name: value[name] for name in _CONTENT_FIELDS & value.keys()})
    redacted = value.get("redacted", False)
    if type(redacted) is not bool:
        raise Invalid("redacted must be true or false", field="redacted")
    if redacted and content != Content():
        raise Invalid("a redacted message cannot have a content", field="redacted")
    return _record(value, content, redacted=redacted)


def _plain(value: dict[str, JsonValue]) -> MessageRecord:
    """Read a line of a conversation file of no particular system; what has no field of its own becomes metadata."""
    said = [name for name in ("content", "text", "parts") if name in value]
    if len(said) != 1:
        raise Invalid("a message needs one of content, text and parts", field="content")
    spoken = value[said[0]]
    parts = [{"type": "text", "text": spoken}] if isinstance(spoken, str) else spoken
    known = {name: value[name] for name in _CONTENT_FIELDS & value.keys()}
    rest = {
        name: other
        for name, other in value.items()
        if name not in _MESSAGE_FIELDS and name not in _CONTENT_FIELDS and name != said[0]
    }
    metadata = {**rest, **_object(known, "metadata")}
    return replace(_record(value, read_content({**known, "parts": parts, "metadata": metadata})), plain=True)


def _record(value: dict[str, JsonValue], content: Content, *, redacted: bool = False) -> MessageRecord:
    role = cast("Role", _choice(value, "role", ROLES, None))
    status = cast("MessageStatus", _choice(value, "status", STATUSES, "complete"))
    new = NewMessage(role, content, status, _moment(value, "created_at"))
    check_messages([new])
    check_size("message", len(content_text(content).encode()), MAX_MESSAGE_BYTES)
    session_id, seq, parent_seq = value.get("session_id"), _seq(value, "seq"), _seq(value, "parent_seq")
    uid = value.get("id")
    if seq == 0 or (seq is not None and parent_seq is not None and parent_seq >= seq):
        raise Invalid(f"message {seq} cannot stand below message {parent_seq}", field="seq")
    return MessageRecord(
        None if session_id is None else check_id(session_id, "session_id"),
        seq,
        parent_seq,
        new,
        _feedback(value),
        redacted,
        id=uid if isinstance(uid, str) else None,
    )


def _feedback(value: dict[str, JsonValue]) -> Feedback | None:
    fields = value.get("feedback")
    if fields is None:
        return None
    if not isinstance(fields, dict) or fields.keys() - {"rating", "comment"}:
        raise Invalid("feedback must be an object of rating and comment", field="feedback")
    rating = fields.get("rating")
    if rating not in (None, "up", "down"):
        raise Invalid(f"rating must be up or down, not {rating!r}", field="feedback")
    comment = _text(fields, "comment")
    check_size("comment", len(comment or ""), MAX_COMMENT_CHARS, "characters")
    return Feedback(rating, comment)


def _text(value: dict[str, JsonValue], name: str) -> str | None:
    got = value.get(name)
    return None if got is None else check_text(got, name)


def _object(value: dict[str, JsonValue], name: str) -> dict[str, JsonValue]:
    got = value.get(name, {})
    if not isinstance(got, dict):
        raise Invalid(f"{name} must be an object", field=name)
    return got


def _choice(value: dict[str, JsonValue], name: str, known: tuple[str, ...], default: str | None) -> str:
    got = value.get(name, default)
    if got not in known:
        raise Invalid(f"unknown {name} {got!r}; known are {', '.join(known)}", field=name)
    return cast("str", got)


def _seq(value: dict[str, JsonValue], name: str) -> int | None:
    got = value.get(name)
    if got is not None and (type(got) is not int or not 0 <= got <= 2**53):
        raise Invalid(f"{name} must be a whole number from 0 on", field=name)
    return got


def _moment(value: dict[str, JsonValue], name: str) -> datetime | None:
    """Read ISO 8601, where a missing zone means UTC, or seconds since 1970."""
    got = value.get(name)
    if got is None:
        return None
    try:
        if isinstance(got, str):
            moment = datetime.fromisoformat(got)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif type(got) in (int, float):
            moment = datetime.fromtimestamp(got, UTC)
        else:
            raise Invalid(f"{name} must be a time in ISO 8601 or seconds since 1970", field=name)
    except (ValueError, OverflowError, OSError) as error:
        raise Invalid(f"{name} {got!r} is no time: {error}", field=name) from error
    return moment
