"""What the hashes and streams hold, and how records are written."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import datetime
from secrets import token_hex

from chatkeep.domain.errors import Closed, NotFound
from chatkeep.domain.messages import Message, MessageStatus, Role, Unreadable
from chatkeep.domain.sessions import Session, is_gone, is_live
from chatkeep.stores.batches import message_of
from chatkeep.stores.codec import EMPTY_BODY, decode, fault, is_sound
from chatkeep.stores.records import STATE_LETTERS, place, session_to_json
from chatkeep.stores.redis.engine import Change, Grave, Stored, new_mark
from chatkeep.stores.redis.names import ScopeNames
from chatkeep.stores.redis.wire import Value

_ROLES: tuple[Role, ...] = ("user", "assistant", "system", "tool")
_STATUSES: tuple[MessageStatus, ...] = ("complete", "partial", "cancelled", "failed", "interrupted")
"""Their places in these tuples are stored: only ever add at the end."""

_ROW = struct.Struct(">qqBB16s")
"""Parent, microseconds of its time, role, status, uid; the body follows."""
_BODY = slice(_ROW.size, None)
_read_row = _ROW.unpack_from


def row_of(message: Message) -> bytes:
    """Return what a stream holds of a message; its seq is the id of the entry."""
    role, status = _ROLES.index(message.role), _STATUSES.index(message.status)
    return _ROW.pack(message.parent_seq, message.created_at_us, role, status, message.uid) + message.body


def _message(seq: int, row: bytes, *, redacted: bool, feedback: bytes | None) -> Message:
    parent, made_us, role, status, uid = _read_row(row)
    body = EMPTY_BODY if redacted else row[_BODY]
    feedback_json = None if feedback is None else feedback.decode()
    return message_of(
        (seq, parent, uid, _ROLES[role], _STATUSES[status], made_us, int(redacted), feedback_json, body, decode)
    )


def entry_from(seq: int, row: bytes | None, *, redacted: bool, feedback: bytes | None) -> Message | Unreadable:
    """Return what a reader sees of a row."""
    if row is None:
        return Unreadable(seq, "the row is missing")
    reason = None if redacted else fault(row[_BODY])
    if reason is not None:
        return Unreadable(seq, reason)
    try:
        return _message(seq, row, redacted=redacted, feedback=feedback)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        return Unreadable(seq, f"the row cannot be decoded: {error!r}")


def entries_from(first_seq: int, rows: Iterable[bytes]) -> list[Message | Unreadable]:
    """Return what `entry_from` returns for consecutive rows beside which nothing lies, in less time: most are sound."""
    entries: list[Message | Unreadable] = []
    for seq, row in enumerate(rows, first_seq):
        body = row[_BODY]
        if is_sound(body):
            parent, made_us, role, status, uid = _read_row(row)
            if role < len(_ROLES) and status < len(_STATUSES):
                fields = (seq, parent, uid, _ROLES[role], _STATUSES[status], made_us, 0, None, body, decode)
                entries.append(message_of(fields))
                continue
        entries.append(entry_from(seq, row, redacted=False, feedback=None))
    return entries


def redacted_row(seq: int, row: bytes | None) -> tuple[bytes, Message]:
    """Return what redaction leaves of a row, and the message that it shows."""
    left = _ROW.pack(0, 0, 0, 0, bytes(16)) if row is None or len(row) < _ROW.size else row[: _ROW.size]
    return left, _message(seq, left, redacted=True, feedback=None)


def readable(stored: Stored | None, session_id: str, now: datetime) -> Stored:
    """Return a live session for reading; a trashed one is not found."""
    if stored is None or not is_live(stored.session, now):
        raise NotFound("session", session_id)
    return stored


def writable(stored: Stored | None, session_id: str, now: datetime) -> Stored:
    """Return a live session for writing; a trashed one is closed."""
    if stored is None or is_gone(stored.session, now):
        raise NotFound("session", session_id)
    if stored.session.state == "trashed":
        raise Closed(session_id)
    return stored


def _ends_ms(session: Session) -> int | None:
    return session.trash_until_ms if session.state == "trashed" else session.expires_at_ms


def touch(change: Change, names: ScopeNames) -> None:
    """Count a change of the scope."""
    change.do("HSETNX", names.changes, "epoch", token_hex(8))
    change.do("HINCRBY", names.changes, "n", 1)


def put(
    change: Change, names: ScopeNames, before: Stored | None, session: Session, *, instead_of: Grave | None = None
) -> Stored:
    """Write a record instead of the one that was read (None: there is none); return it with its mark.

    `instead_of`: a gone session of that id, whose removal the change has already.
    """
    key = names.session(session.id)
    if instead_of is None:
        change.require(key, "v", b"" if before is None else before.mark)
    mark = new_mark()
    old = None if before is None else before.session
    old_place, new_place = b"" if old is None else listed(old), listed(session)
    fields: dict[str, Value] = {
        "rec": session_to_json(session),
        "v": mark,
        "first": session.first_seq,
        "last": session.last_seq,
        "head": session.head_seq,
        "jumps": session.jumps_json,
        "inc": session.incarnation,
        "state": session.state,
        "place": new_place,
    }
    change.do("HSET", key, *(part for field in fields.items() for part in field))
    if old is None:
        change.do("ZADD", names.ids, 0, session.id)
    _move(change, names, old_place, new_place)
    ends = _ends_ms(session)
    if ends != (None if old is None else _ends_ms(old)):
        if ends is None:
            change.do("ZREM", names.ends, session.id)
        else:
            change.do("ZADD", names.ends, ends, session.id)
    touch(change, names)
    return Stored(session, mark)


def listed(session: Session) -> bytes:
    """Return the letter of the list that shows a session and its place there; empty for a hidden one."""
    return b"" if session.hidden else STATE_LETTERS[session.state] + place(session)


def _move(change: Change, names: ScopeNames, old: bytes, new: bytes) -> None:
    """Move a session from its place in a list to another."""
    if old == new:
        return
    if old:
        change.do("ZREM", names.list(old[:1]), old[1:])
    if new:
        change.do("ZADD", names.list(new[:1]), 0, new[1:])


def remove(change: Change, names: ScopeNames, grave: Grave) -> None:
    """Remove everything of a session."""
    session_id = grave.session_id
    change.require(names.session(session_id), "v", grave.mark)
    for name in (names.session, names.messages, names.overlay, names.keys, names.states, names.runs):
        change.do("UNLINK", name(session_id))
    for run_id in grave.run_ids:
        change.do("UNLINK", names.run(run_id))
        change.do("UNLINK", names.events(run_id))
    change.do("ZREM", names.ids, session_id)
    change.do("ZREM", names.ends, session_id)
    _move(change, names, grave.place, b"")
    touch(change, names)
